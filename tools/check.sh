#!/usr/bin/env bash
# check.sh [STEP...]: everything that must hold before a release, or some steps of it: tests isas emulated asan tsan fuzz lint peers.
# Prints one line per part; stops at the first that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${LACUNA_FUZZ_SECONDS:-60}
environment=${LACUNA_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna/venv}  # made by ./dev test
step() { printf '\n== %s\n' "$*"; }
together() {  # together COMMAND...: a test program in as many shards as there are cores; fails when one does
  local n i jobs=()
  n=$(nproc)
  for ((i = 0; i < n; i++)); do GTEST_TOTAL_SHARDS=$n GTEST_SHARD_INDEX=$i "$@" --gtest_brief=1 & jobs+=($!); done
  for i in "${jobs[@]}"; do wait "$i" || return 1; done
}

check_tests() {
  step "release build and tests"
  ./dev test
}

check_isas() {
  # One small test under each level that the program knows; it refuses those that this CPU lacks.
  probe() { LACUNA_ISA=$1 build/release/lacuna_kernels_test --gtest_brief=1 --gtest_filter='Norms.*' 2>&1 || true; }
  isas=$(probe unknown | sed -n 's/.*LACUNA_ISA=unknown is unknown; known: \([a-z0-9_, ]*\).*/\1/p' | tr -d ,)
  [ -n "$isas" ] || { echo "the levels of LACUNA_ISA could not be found out"; exit 1; }
  for isa in $isas; do
    if grep -q "this CPU has only" <<<"$(probe "$isa")"; then
      step "skipped: this CPU has no $isa"
      continue
    fi
    step "kernels and runtime under LACUNA_ISA=$isa"
    LACUNA_ISA=$isa together build/release/lacuna_kernels_test
    LACUNA_ISA=$isa together build/release/lacuna_runtime_test
  done
}

check_emulated() {
  for cpu in Haswell Nehalem; do
    step "kernels and runtime on an emulated $cpu"
    # OPENBLAS_CORETYPE would make OpenBLAS run instructions that this CPU lacks.
    together env -u OPENBLAS_CORETYPE qemu-x86_64 -cpu "$cpu" build/release/lacuna_kernels_test
    together env -u OPENBLAS_CORETYPE qemu-x86_64 -cpu "$cpu" build/release/lacuna_runtime_test
  done
}

sanitized() {  # sanitized PRESET [ctest arguments]
  step "$1"
  ./dev build "$1" >"build/$1.log" || { tail -40 "build/$1.log"; return 1; }
  ctest --test-dir "build/$1" --output-on-failure -j "$(nproc)" "${@:2}"
}
check_asan() { sanitized asan; }
# The grid of kernels takes most of an hour there, and says nothing about threads that GivesTheSameBitsForAnyThreadCount does not.
check_tsan() { sanitized tsan -E EqualsTheReferenceOnTheGrid; }

seeds() {  # seeds TARGET: files that look like what it reads
  case $1 in
    onnx_fuzz) find "$environment" -path '*backend/test/data/node*' -name model.onnx -size -4k 2>/dev/null || true ;;
    gguf_fuzz) find tests/fixtures -name '*.gguf' -size -40k ;;
    safetensors_fuzz | compressed_tensors_fuzz) find tests/fixtures -name '*.safetensors' -size -40k ;;
    npy_fuzz) find tests/fixtures -name '*.npy' -size -8k ;;
    config_fuzz) find tests/fixtures -name config.json ;;
    tokenizer_json_fuzz) find tests/fixtures -name 'tokenizer*.json' -size -40k ;;
    sentencepiece_fuzz) find tests/fixtures -name '*.model' ;;
  esac
}
fuzz_one() {
  local name=$(basename "$1") corpus=build/fuzz/corpus/$(basename "$1")
  [ -d "$corpus" ] || { mkdir -p "$corpus"; seeds "$name" | xargs -r cp --backup=numbered -t "$corpus"; }
  "$1" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$1-" "$corpus" >"$1.log" 2>&1 || { tail -40 "$1.log"; echo "$name failed"; return 1; }
  echo "$name: $(grep -E 'Done [0-9]+ runs' "$1.log")"
}

check_fuzz() {
  step "fuzzing, $seconds s per target"
  ./dev build fuzz >build/fuzz.log || { tail -40 build/fuzz.log; return 1; }
  export -f seeds fuzz_one
  export seconds environment
  printf '%s\n' build/fuzz/*_fuzz | xargs -P "$(nproc)" -I {} bash -c 'fuzz_one {}'
}

check_lint() {
  step "lint"
  ./dev lint
}

check_peers() {
  step "beside ONNX Runtime: outputs of the tests above, and time"
  python=$environment/bin/python
  if "$python" -c 'import onnx, onnxruntime' 2>/dev/null; then
    LACUNA_PEER_PYTHON="onnxruntime=$python" ./dev bench --only minilm resnet50 --sparsity 0 0.9 --batch 1 --rounds 2 --runs 5
  else
    echo "skipped: no onnxruntime in $python"
  fi
}

steps=("$@")
((${#steps[@]})) || steps=(tests isas emulated asan tsan fuzz lint peers)
for s in "${steps[@]}"; do
  [ "$(type -t "check_$s")" = function ] || { echo "unknown step '$s'; known: tests isas emulated asan tsan fuzz lint peers"; exit 2; }
done
mkdir -p build
for s in "${steps[@]}"; do "check_$s"; done
printf '\nall passed: %s\n' "${steps[*]}"
