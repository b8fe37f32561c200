#!/usr/bin/env bash
# Peers and Lacuna, interleaved: benchmarks/run.sh [arguments of compare.py]. `./dev bench` builds first and names the environment.
# Peers come from PyPI into environments of their own below LACUNA_VENV; one that cannot be installed is left out and named.
# LACUNA_PEER_PYTHON="ENGINE=PYTHON ..." uses environments that exist instead.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environments=${LACUNA_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/lacuna/venv}-peers
pythons=()

environment() {  # environment NAME PYTHON ENGINES PACKAGE...: adds ENGINE=INTERPRETER for each engine
  local name=$1 python=$2 engines=$3 engine; shift 3
  local at=$environments/$name
  if [ ! -e "$at/ready" ]; then
    command -v "$python" >/dev/null && "$python" -m venv "$at" && "$at/bin/pip" install -q --disable-pip-version-check "$@" && touch "$at/ready" || {
      echo "left out: $engines (could not install $*)" >&2
      return 0
    }
  fi
  for engine in $engines; do pythons+=("$engine=$at/bin/python"); done
}

if [ -n "${LACUNA_PEER_PYTHON:-}" ]; then
  read -ra pythons <<<"$LACUNA_PEER_PYTHON"
else
  environment onnx python3 "onnxruntime openvino openvino-bf16" onnx onnxruntime openvino numpy
  environment deepsparse "${DEEPSPARSE_PYTHON:-python3.11}" deepsparse deepsparse==1.8.0  # the last release; Python 3.8 to 3.11
  environment llama python3 llama.cpp llama-cpp-python numpy                                # compiles for this CPU
  environment transformers python3 transformers torch transformers gguf accelerate numpy --extra-index-url https://download.pytorch.org/whl/cpu
fi

exec python3 "$root/benchmarks/compare.py" --models "${LACUNA_BENCH_MODELS:-$root/models/bench}" --gguf "${LACUNA_MODELS:-$root/models}/SmolLM2.gguf" \
  --python "${pythons[@]}" "$@"
