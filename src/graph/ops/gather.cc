// Gathering and scattering by indices.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

void expect_integers(const InferContext& context, size_t i) {
  if (is_float(context.input(i).dtype)) context.fail(cat("input ", i, " is ", name_of(context.input(i).dtype), ", wanted integers"));
}

// x [a..., n, b...], indices [i...] -> [a..., i..., b...]
void gather(InferContext& context) {
  const Fact &x = context.input(0), &indices = context.input(1);
  expect_integers(context, 1);
  expect_rank(context, 0, 1, true);
  if (!x.shape || !indices.shape) return context.set(0, x.dtype, std::nullopt);
  int64_t axis = normalise_axis(context.attributes().integer("axis", 0), int64_t(x.shape->size()), context);
  SymShape shape(x.shape->begin(), x.shape->begin() + axis);
  shape.insert(shape.end(), indices.shape->begin(), indices.shape->end());
  shape.insert(shape.end(), x.shape->begin() + axis + 1, x.shape->end());
  context.set(0, x.dtype, shape);
  auto known = context.constants(1);
  const Dim& size = (*x.shape)[size_t(axis)];
  if (!known || !size.is_constant()) return;
  for (int64_t& i : *known) {
    if (i < -size.value() || i >= size.value()) context.fail(cat("index ", i, " is outside of axis ", axis, " of ", to_string(*x.shape)));
    if (i < 0) i += size.value();
  }
  auto* elements = context.elements(0);
  if (!elements) return;
  Blocks blocks = blocks_of(*constant_shape(*x.shape), axis);
  if (blocks.outer * blocks.inner * int64_t(known->size()) > kMaxElements) return;
  std::vector<Dim> picked;
  for (int64_t o = 0; o < blocks.outer; o++)
    for (int64_t p : *known)
      for (int64_t i = 0; i < blocks.inner; i++) picked.push_back((*elements)[size_t((o * blocks.axis + p) * blocks.inner + i)]);
  context.set_elements(0, std::move(picked));
}

void gather_elements(InferContext& context) {
  const Fact &x = context.input(0), &indices = context.input(1);
  expect_integers(context, 1);
  if (x.shape) normalise_axis(context.attributes().integer("axis", 0), int64_t(x.shape->size()), context);
  if (x.shape) expect_rank(context, 1, x.shape->size());
  context.set(0, x.dtype, indices.shape);
}

// x [b..., d...], indices [b..., i..., n] -> [b..., i..., d[n:]...]
void gather_nd(InferContext& context) {
  const Fact &x = context.input(0), &indices = context.input(1);
  expect_integers(context, 1);
  expect_rank(context, 0, 1, true);
  expect_rank(context, 1, 1, true);
  if (!x.shape || !indices.shape || !indices.shape->back().is_constant()) return context.set(0, x.dtype, std::nullopt);
  int64_t batch = context.attributes().integer("batch_dims", 0), depth = indices.shape->back().value();
  int64_t rank = int64_t(x.shape->size());
  if (batch < 0 || batch >= rank || batch >= int64_t(indices.shape->size()) || depth > rank - batch)
    context.fail(cat("indices ", to_string(*indices.shape), " with ", batch, " batch dimensions do not fit ", to_string(*x.shape)));
  SymShape shape(indices.shape->begin(), indices.shape->end() - 1);
  shape.insert(shape.end(), x.shape->begin() + batch + depth, x.shape->end());
  context.set(0, x.dtype, shape);
}

// x, indices, updates -> as x
void scatter_elements(InferContext& context) {
  expect_integers(context, 1);
  if (auto* x = context.shape(0)) {
    normalise_axis(context.attributes().integer("axis", 0), int64_t(x->size()), context);
    expect_rank(context, 1, x->size());
    expect_rank(context, 2, x->size());
  }
  same_as_input(context);
}

void scatter_nd(InferContext& context) {
  expect_integers(context, 1);
  expect_rank(context, 1, 1, true);
  auto *x = context.shape(0), *indices = context.shape(1);
  if (x && indices && indices->back().is_constant() && indices->back().value() > int64_t(x->size()))
    context.fail(cat("indices ", to_string(*indices), " do not fit ", to_string(*x)));
  same_as_input(context);
}

// indices [i...], depth, values [2] -> [i..., depth at axis, ...]
void one_hot(InferContext& context) {
  DType dtype = context.input(2).dtype;
  auto* indices = context.shape(0);
  if (!indices) return context.set(0, dtype, std::nullopt);
  int64_t axis = normalise_axis(context.attributes().integer("axis", -1), int64_t(indices->size()) + 1, context);
  auto* depth = context.elements(1);
  if (depth && depth->size() != 1) context.fail(cat("depth has ", depth->size(), " elements, wanted 1"));
  SymShape shape = *indices;
  shape.insert(shape.begin() + axis, depth ? (*depth)[0] : context.unknown(0, size_t(axis)));
  context.set(0, dtype, shape);
}

// [rank, count]: how many, only the run can tell.
void non_zero(InferContext& context) {
  auto* x = context.shape(0);
  context.set(0, DType::kS64, SymShape{x ? Dim(int64_t(x->size())) : context.unknown(0, 0), context.unknown(0, 1)});
}

const OpSchema kSchemas[] = {
    {Op::gather, 2, 2, 1, 1, {"axis"}, gather},
    {Op::gather_elements, 2, 2, 1, 1, {"axis"}, gather_elements},
    {Op::gather_nd, 2, 2, 1, 1, {"batch_dims"}, gather_nd},
    {Op::scatter_elements, 3, 3, 1, 1, {"axis", "reduction"}, scatter_elements},
    {Op::scatter_nd, 3, 3, 1, 1, {"reduction"}, scatter_nd},
    {Op::one_hot, 3, 3, 1, 1, {"axis"}, one_hot},
    {Op::non_zero, 1, 1, 1, 1, {}, non_zero},
};

}  // namespace

std::span<const OpSchema> gather_schemas() { return kSchemas; }

}  // namespace lacuna::ops
