#!/usr/bin/env bash
# kernels.sh [PART...]: the tables of docs/performance-kernels.md, on the machine at hand, as Markdown. Needs build/release/lacuna.
# Parts: int8 blocks f32 balanced decode conv. THREADS="1 2" and RUNS=20 by default.
# The dense side is the fastest of oneDNN, OpenBLAS and our own. To see a CPU without AMX on one that has it:
#   LACUNA_ISA=avx512_bf16 ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 benchmarks/kernels.sh int8
set -euo pipefail
cd "$(dirname "$0")/.."
sparsities='sparsity={0.5,0.7,0.8,0.9,0.95}'
shapes=('m=768 k=768' 'm=3072 k=768' 'm=768 k=3072' 'm=4096 k=4096' 'm=11008 k=4096')
resnet50=('ic=64 oc=64 h=56 w=56' 'ic=128 oc=128 h=28 w=28' 'ic=256 oc=256 h=14 w=14' 'ic=512 oc=512 h=7 w=7')

bench() {
  local arguments=()
  for problem; do arguments+=(--kernel "$problem"); done
  build/release/lacuna bench "${arguments[@]}" --threads ${THREADS:-1 2} --runs "${RUNS:-20}"
}

parts=("$@")
[ $# -gt 0 ] || parts=(int8 blocks f32 balanced decode conv)
for part in "${parts[@]}"; do
  printf '\n## %s\n' "$part"
  problems=()
  case $part in
    int8) for shape in "${shapes[@]}"; do problems+=("spmm s8 unstructured $shape n=128 $sparsities"); done ;;
    blocks)
      for shape in "${shapes[@]}"; do
        problems+=("spmm s8 block:{1x4,4x4} $shape n=128 $sparsities" "spmm f32 block:{4x1,4x4} $shape n=128 $sparsities")
      done ;;
    f32) for shape in "${shapes[@]}"; do problems+=("spmm f32 unstructured $shape n=128 $sparsities"); done ;;
    balanced) for n in 1 16 128; do problems+=("spmm s8 {8:16,4:16,2:16,8:64} m=4096 k=4096 n=$n"); done ;;
    decode)  # 235 million weights
      problems+=("spmm s8 unstructured m=57344 k=4096 n=1 $sparsities" "spmm bf16 unstructured m=57344 k=4096 n=1 $sparsities"
        "spmm s4 unstructured m=57344 k=4096 n=1 group=32 sparsity={0.5,0.7}" "spmm s8 {8:16,4:16,2:16} m=57344 k=4096 n=1") ;;
    conv) for shape in "${resnet50[@]}"; do problems+=("conv {f32,s8} unstructured $shape k=3 n=1 sparsity={0.7,0.9}"); done ;;
    *) echo "kernels.sh: found part '$part', wanted int8, blocks, f32, balanced, decode or conv" >&2; exit 1 ;;
  esac
  bench "${problems[@]}"
done
