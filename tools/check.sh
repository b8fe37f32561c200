#!/usr/bin/env bash
# Everything that must hold before a release. Prints one line per step; stops at the first that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${LACUNA_FUZZ_SECONDS:-60}
step() { printf '\n== %s\n' "$*"; }

step "release build and tests"
./dev test

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
  LACUNA_ISA=$isa build/release/lacuna_kernels_test --gtest_brief=1
  LACUNA_ISA=$isa build/release/lacuna_runtime_test --gtest_brief=1
done

for cpu in Haswell Nehalem; do
  step "kernels on an emulated $cpu"
  qemu-x86_64 -cpu "$cpu" build/release/lacuna_kernels_test --gtest_brief=1
done

for preset in asan tsan; do
  step "$preset"
  ./dev build "$preset" >/dev/null
  ctest --test-dir "build/$preset" --output-on-failure -j "$(nproc)"
done

step "fuzzing, $seconds s per target"
./dev build fuzz >/dev/null
for target in build/fuzz/*_fuzz; do
  printf '%s: ' "$(basename "$target")"
  "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 >"$target.log" 2>&1 || { tail -40 "$target.log"; exit 1; }
  grep -E 'Done [0-9]+ runs' "$target.log"
done

step "lint"
./dev lint
