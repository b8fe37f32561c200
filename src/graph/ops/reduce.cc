// Reductions along axes, and what picks or accumulates along one axis.
#include <algorithm>

#include "base/cat.h"
#include "graph/ops/rules.h"
#include "lacuna/error.h"

namespace lacuna::ops {
namespace {

// Elements of output 0: `combine` folded over the reduced axes of a known input.
void fold_elements(InferContext& context, const std::vector<bool>& reduced, Dim (*combine)(const Dim&, const Dim&)) {
  auto* elements = context.elements(0);
  if (!combine || !elements || elements->empty()) return;
  auto shape = *constant_shape(*context.shape(0));
  std::vector<std::optional<Dim>> out(elements->size());  // only the first entries are used
  size_t count = 1;
  for (size_t i = 0; i < shape.size(); i++) count *= reduced[i] ? 1 : size_t(shape[i]);
  try {
    for (size_t at = 0; at < elements->size(); at++) {
      size_t rest = at, target = 0, step = 1;
      for (size_t k = shape.size(); k-- > 0; rest /= size_t(shape[k]))
        if (!reduced[k]) target += rest % size_t(shape[k]) * step, step *= size_t(shape[k]);
      out[target] = out[target] ? combine(*out[target], (*elements)[at]) : (*elements)[at];
    }
  } catch (const InvalidData&) {
    return;  // beyond 64 bits: not known
  }
  std::vector<Dim> result;
  for (size_t i = 0; i < count; i++) result.push_back(*out[i]);
  context.set_elements(0, std::move(result));
}

Dim times(const Dim& a, const Dim& b) { return a * b; }
Dim plus(const Dim& a, const Dim& b) { return a + b; }
Dim least(const Dim& a, const Dim& b) { return min(a, b); }
Dim greatest(const Dim& a, const Dim& b) { return max(a, b); }

using Fold = Dim (*)(const Dim&, const Dim&);

template <Fold fold>
void reduce(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  int64_t rank = int64_t(x.shape->size());
  bool given, keep = context.attributes().integer("keepdims", 1) != 0;
  auto axes = axes_of(context, 1, rank, given);
  SymShape shape;
  if (given && !axes) {  // which axes, only the run can tell; how many are left only if they are kept
    if (!keep) return context.set(0, x.dtype, std::nullopt);
    for (size_t i = 0; i < size_t(rank); i++) shape.push_back(context.unknown(0, i));
    return context.set(0, x.dtype, shape);
  }
  bool none = !axes || axes->empty();
  bool identity = none && context.attributes().integer("noop_with_empty_axes", 0) != 0;
  std::vector<bool> reduced(size_t(rank), none && !identity);
  if (axes)
    for (int64_t axis : *axes) reduced[size_t(axis)] = true;
  for (size_t i = 0; i < size_t(rank); i++) {
    if (!reduced[i])
      shape.push_back((*x.shape)[i]);
    else if (keep)
      shape.push_back(Dim(1));
  }
  context.set(0, x.dtype, shape);
  fold_elements(context, reduced, fold);
}

void arg_reduce(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, DType::kS64, std::nullopt);
  int64_t axis = normalise_axis(context.attributes().integer("axis", 0), int64_t(x.shape->size()), context);
  SymShape shape = *x.shape;
  if (context.attributes().integer("keepdims", 1))
    shape[size_t(axis)] = Dim(1);
  else
    shape.erase(shape.begin() + axis);
  context.set(0, DType::kS64, shape);
}

void cum_sum(InferContext& context) {
  if (auto axis = context.constants(1); axis && axis->size() == 1 && context.shape(0))
    normalise_axis((*axis)[0], int64_t(context.shape(0)->size()), context);
  same_as_input(context);
}

void top_k(InferContext& context) {
  const Fact& x = context.input(0);
  std::optional<SymShape> shape = x.shape;
  if (shape) {
    size_t axis = size_t(normalise_axis(context.attributes().integer("axis", -1), int64_t(shape->size()), context));
    auto* k = context.elements(1);
    if (k && k->size() != 1) context.fail(cat("k has ", k->size(), " elements, wanted 1"));
    if (k && is_less((*shape)[axis], (*k)[0]) == true)
      context.fail(cat("k = ", (*k)[0].to_string(), " is more than the ", (*shape)[axis].to_string(), " elements of axis ", axis));
    (*shape)[axis] = k ? (*k)[0] : context.unknown(0, axis);
  }
  context.set(0, x.dtype, shape);
  context.set(1, DType::kS64, shape);
}

const OpSchema kSchemas[] = {
    {Op::reduce_sum, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<plus>},
    {Op::reduce_mean, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::reduce_max, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<greatest>},
    {Op::reduce_min, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<least>},
    {Op::reduce_prod, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<times>},
    {Op::reduce_l1, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::reduce_l2, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::reduce_sum_square, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::reduce_log_sum_exp, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::reduce_log_sum, 1, 2, 1, 1, {"axes", "keepdims", "noop_with_empty_axes"}, reduce<nullptr>},
    {Op::arg_max, 1, 1, 1, 1, {"axis", "keepdims", "select_last_index"}, arg_reduce},
    {Op::arg_min, 1, 1, 1, 1, {"axis", "keepdims", "select_last_index"}, arg_reduce},
    {Op::cum_sum, 2, 2, 1, 1, {"exclusive", "reverse"}, cum_sum},
    {Op::top_k, 2, 2, 2, 2, {"axis", "largest", "sorted"}, top_k},
};

}  // namespace

std::span<const OpSchema> reduce_schemas() { return kSchemas; }

}  // namespace lacuna::ops
