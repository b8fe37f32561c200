// Convolutions over [n, c, spatial...] in any number of spatial dimensions.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

int64_t groups_of(const InferContext& context) {
  int64_t groups = context.attributes().integer("groups", 1);
  if (groups < 1) context.fail(cat("attribute 'groups' is ", groups, ", wanted at least 1"));
  return groups;
}

void expect_same_rank(const InferContext& context) {
  if (context.shape(1)->size() != context.shape(0)->size())
    context.fail(cat("input ", to_string(*context.shape(0)), " and weight ", to_string(*context.shape(1)), " differ in their number of dimensions"));
}

// x [n, c, spatial...], weight [out, c / groups, k...], bias [out]
void conv(InferContext& context) {
  const Fact &x = context.input(0), &weight = context.input(1);
  expect_rank(context, 0, 3, true);
  expect_rank(context, 1, 3, true);
  if (!x.shape || !weight.shape) return context.set(0, x.dtype, std::nullopt);
  expect_same_rank(context);
  Dim groups(groups_of(context));
  expect_equal(context, (*x.shape)[1], (*weight.shape)[1] * groups, "the channels of the input and of the weight times groups");
  const Dim& out = (*weight.shape)[0];
  if (!(floor_div(out, groups) * groups == out))
    context.fail(cat("groups ", groups.to_string(), " do not divide the ", out.to_string(), " output channels"));
  if (auto* bias = context.shape(2)) {
    expect_rank(context, 2, 1);
    expect_equal(context, bias->back(), out, "the length of the bias and the output channels");
  }
  size_t spatial = x.shape->size() - 2;
  Windows windows = windows_of(context, spatial);
  SymShape shape = {(*x.shape)[0], out};
  for (size_t i = 0; i < spatial; i++) shape.push_back(windows_along(context, windows, i, (*x.shape)[i + 2], (*weight.shape)[i + 2]));
  context.set(0, x.dtype, shape);
}

// x [n, c, spatial...], weight [c, out / groups, k...], bias [out]
void conv_transpose(InferContext& context) {
  const Fact &x = context.input(0), &weight = context.input(1);
  expect_rank(context, 0, 3, true);
  expect_rank(context, 1, 3, true);
  if (!x.shape || !weight.shape) return context.set(0, x.dtype, std::nullopt);
  expect_same_rank(context);
  expect_equal(context, (*x.shape)[1], (*weight.shape)[0], "the channels of the input and of the weight");
  size_t spatial = x.shape->size() - 2;
  Windows w = windows_of(context, spatial);
  auto extra = context.attributes().integers("output_padding", std::vector<int64_t>(spatial, 0));
  auto wanted = context.attributes().integers("output_shape");
  if (extra.size() != spatial || (!wanted.empty() && wanted.size() != spatial))
    context.fail(cat("output_padding or output_shape do not have ", spatial, " entries"));
  SymShape shape = {(*x.shape)[0], (*weight.shape)[1] * Dim(groups_of(context))};
  for (size_t i = 0; i < spatial; i++) {
    const Dim &size = (*x.shape)[i + 2], &kernel = (*weight.shape)[i + 2];
    Dim stride(w.strides[i]);
    if (!wanted.empty()) {
      shape.push_back(wanted[i]);
    } else if (w.auto_pad.starts_with("SAME")) {
      shape.push_back(size * stride);
    } else {
      Dim pads = w.auto_pad == "VALID" ? Dim(0) : Dim(w.pads[i]) + Dim(w.pads[spatial + i]);
      shape.push_back(stride * (size - Dim(1)) + Dim(extra[i]) + Dim(w.dilations[i]) * (kernel - Dim(1)) + Dim(1) - pads);
    }
  }
  context.set(0, x.dtype, shape);
}

const OpSchema kSchemas[] = {
    {Op::conv, 2, 3, 1, 1, {"strides", "pads", "dilations", "groups", "auto_pad"}, conv},
    {Op::conv_transpose, 2, 3, 1, 1, {"strides", "pads", "dilations", "groups", "auto_pad", "output_padding", "output_shape"}, conv_transpose},
};

}  // namespace

std::span<const OpSchema> conv_schemas() { return kSchemas; }

}  // namespace lacuna::ops
