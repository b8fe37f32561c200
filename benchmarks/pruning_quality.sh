#!/usr/bin/env bash
# pruning_quality.sh MODEL DATASET [LIMIT]: top-1 of MODEL after one-shot pruning, for each criterion, pattern and allocation at 30 to 90 %; one
# Markdown row each. Without LIMIT all items of DATASET count. The tables of docs/results/ are made with it.
set -euo pipefail
lacuna=${LACUNA:-$(dirname "$0")/../build/release/lacuna}
model=$1 dataset=$2 limit=${3:+--limit $3}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

top1() { "$lacuna" eval "$1" --protocol top1 --dataset "$dataset" $limit --json 2>/dev/null | sed -n 's/^ *"top1": \([0-9.e-]*\),*$/\1/p' | awk '{printf "%.2f", 100 * $1}'; }
after() { "$lacuna" prune "$model" -o "$work/m" --force "$@" >/dev/null 2>"$work/err" && top1 "$work/m" || printf 'does not fit'; }

echo "| criterion | pattern | allocation | 30 % | 50 % | 70 % | 80 % | 90 % |"
echo "|---|---|---|---|---|---|---|---|"
echo "| none | dense | | $(top1 "$model") |||||"
row() {  # row CRITERION PATTERN ALLOCATION
  printf '| %s | %s | %s ' "$1" "$2" "$3"
  for sparsity in 0.3 0.5 0.7 0.8 0.9; do printf '| %s ' "$(after --criterion "$1" --pattern "$2" --allocation "$3" --sparsity $sparsity)"; done
  echo '|'
}
for allocation in uniform erk global; do row magnitude unstructured $allocation; done
row lamp unstructured global
for allocation in uniform erk; do row random unstructured $allocation; done
for block in 1x4 4x1 4x4; do for allocation in uniform erk; do row magnitude block:$block $allocation; done; done

echo
echo "| N:M | zeros | top-1 |"
echo "|---|---|---|"
for pattern in 3:4 2:4 1:4 12:16 8:16 4:16 2:16; do
  printf '| %s | %s %% | %s |\n' $pattern "$(awk -F: '{print 100 - 100 * $1 / $2}' <<<$pattern)" "$(after --pattern $pattern)"
done
