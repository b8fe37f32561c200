// Normalisation and softmax: the output has the shape and type of the input.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

void axis_in_range(const InferContext& context, int64_t fallback) {
  if (auto* x = context.shape(0)) normalise_axis(context.attributes().integer("axis", fallback), int64_t(x->size()), context);
}

// scale and bias broadcast to the normalised axes [axis, rank).
void layer_norm(InferContext& context) {
  expect_rank(context, 0, 1, true);
  axis_in_range(context, -1);
  for (size_t i = 1; i < context.input_count(); i++) {
    auto *x = context.shape(0), *scale = context.shape(i);
    if (x && scale && broadcast(*x, *scale, "input and scale or bias").size() > x->size())
      context.fail(cat("scale or bias ", to_string(*scale), " has more dimensions than the input ", to_string(*x)));
  }
  same_as_input(context);
}

// Inputs from 1 on are vectors over the channels, axis 1.
void channel_norm(InferContext& context) {
  expect_rank(context, 0, 2, true);
  for (size_t i = 1; i < context.input_count(); i++) {
    expect_rank(context, i, 1);
    auto *x = context.shape(0), *vector = context.shape(i);
    if (x && vector) expect_equal(context, vector->back(), (*x)[1], cat("the length of input ", i, " and the channels"));
  }
  same_as_input(context);
}

void group_norm(InferContext& context) {
  int64_t groups = context.attributes().integer("groups", 0);
  if (groups < 1) context.fail(cat("attribute 'groups' is ", groups, ", wanted at least 1"));
  auto* x = context.shape(0);
  if (x && x->size() > 1 && (*x)[1].is_constant() && (*x)[1].value() % groups != 0)
    context.fail(cat("groups ", groups, " do not divide the ", (*x)[1].value(), " channels"));
  channel_norm(context);
}

void along_last_axis(InferContext& context) {
  axis_in_range(context, -1);
  same_as_input(context);
}

void softmax(InferContext& context) {
  axis_in_range(context, context.attributes().integer("flatten", 0) ? 1 : -1);
  same_as_input(context);
}

void lrn(InferContext& context) {
  if (context.attributes().integer("size", 0) < 1) context.fail("attribute 'size' is missing or below 1");
  expect_rank(context, 0, 3, true);
  same_as_input(context);
}

const OpSchema kSchemas[] = {
    {Op::layer_norm, 1, 3, 1, 1, {"axis", "epsilon"}, layer_norm},   {Op::rms_norm, 2, 2, 1, 1, {"epsilon", "axis", "scale_offset"}, layer_norm},
    {Op::batch_norm, 5, 5, 1, 1, {"epsilon"}, channel_norm},         {Op::instance_norm, 3, 3, 1, 1, {"epsilon"}, channel_norm},
    {Op::group_norm, 3, 3, 1, 1, {"groups", "epsilon"}, group_norm}, {Op::l2_norm, 1, 1, 1, 1, {"axis", "epsilon", "p"}, along_last_axis},
    {Op::lrn, 1, 1, 1, 1, {"size", "alpha", "beta", "bias"}, lrn},   {Op::softmax, 1, 1, 1, 1, {"axis", "flatten"}, softmax},
    {Op::log_softmax, 1, 1, 1, 1, {"axis", "flatten"}, softmax},
};

}  // namespace

std::span<const OpSchema> norm_schemas() { return kSchemas; }

}  // namespace lacuna::ops
