// Resampling. Upsample 7 (scales an attribute) and 9 (an input) and Resize 10 take no half pixels; the nearest one is source pixel
// floor(x / scale) of an axis that grows and, as ONNX Runtime has it, ceil(x / scale) of one that shrinks. Resize 11 has roi, scales and sizes as
// inputs (the unused ones empty); 13 makes them optional; 18 adds antialias, axes and keep_aspect_ratio_policy; 19 adds half_pixel_symmetric.
// GridSample: 16 says bilinear and bicubic, 20 linear and cubic.
#include <algorithm>

#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {
namespace {

bool is_empty(OpContext& context, ValueId value) {
  auto shape = context.shape(value);
  return value == kNoValue || (shape && shape->size() == 1 && (*shape)[0] == Dim(0));
}

ValueId resize_plainly(OpContext& context, ValueId scales) {
  std::string mode = context.text("mode", "nearest");
  if (mode == "bilinear" || mode == "trilinear") mode = "linear";
  if (mode != "nearest" && mode != "linear") context.unsupported("mode = " + mode);
  auto resized = [&](ValueId x, ValueId by, const char* nearest, std::string_view suffix) {
    Attributes attributes = with({{"mode", mode}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", nearest}});
    return context.add(Op::resize, {x, kNoValue, by}, attributes, suffix);
  };
  ValueId x = context.required(0);
  auto known = context.numbers_of(scales);
  auto any = [&](auto is) { return known && std::any_of(known->begin(), known->end(), is); };
  bool shrinks = any([](double s) { return s < 1; }), grows = any([](double s) { return s > 1; });
  if (mode == "linear" || (known && !shrinks)) return resized(x, scales, "floor", "");
  if (known && !grows) return resized(x, scales, "ceil", "");
  ValueId one = context.scalar(1, DType::kF32, "one");
  ValueId shrunk = resized(x, context.add(Op::minimum, {scales, one}, {}, "shrinking"), "ceil", "shrunk");
  return resized(shrunk, context.add(Op::maximum, {scales, one}, {}, "growing"), "floor", "");
}

void expect_one_of(OpContext& context, const char* name, const std::string& value, std::initializer_list<const char*> known) {
  for (const char* k : known)
    if (value == k) return;
  context.unsupported(cat(name, " = ", value));
}

}  // namespace

void upsample(OpContext& context) {
  if (context.version() >= 9) return context.set_output(0, resize_plainly(context, context.required(1)));
  auto scales = context.numbers("scales");
  std::vector<float> narrow(scales.begin(), scales.end());
  context.set_output(0, resize_plainly(context, context.constant(Tensor::of<float>({int64_t(narrow.size())}, narrow), "scales")));
}

void resize(OpContext& context) {
  if (context.version() == 10) return context.set_output(0, resize_plainly(context, context.required(1)));
  Attributes attributes;
  std::string mode = context.text("mode", "nearest"), transformation = context.text("coordinate_transformation_mode", "half_pixel");
  std::string nearest = context.text("nearest_mode", "round_prefer_floor"), policy = context.text("keep_aspect_ratio_policy", "stretch");
  expect_one_of(context, "mode", mode, {"nearest", "linear", "cubic"});
  expect_one_of(
      context, "coordinate_transformation_mode", transformation,
      {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"});
  expect_one_of(context, "nearest_mode", nearest, {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
  expect_one_of(context, "keep_aspect_ratio_policy", policy, {"stretch", "not_larger", "not_smaller"});
  attributes.set("mode", mode);
  attributes.set("coordinate_transformation_mode", transformation);
  if (mode == "nearest") attributes.set("nearest_mode", nearest);
  if (mode == "cubic") attributes.set("cubic_coeff_a", context.number("cubic_coeff_a", -0.75));
  if (policy != "stretch") attributes.set("keep_aspect_ratio_policy", policy);
  context.copy(attributes, {"exclude_outside", "extrapolation_value", "antialias", "axes"});
  ValueId roi = transformation == "tf_crop_and_resize" ? context.required(1) : kNoValue;
  ValueId scales = is_empty(context, context.input(2)) ? kNoValue : context.input(2);
  ValueId sizes = is_empty(context, context.input(3)) ? kNoValue : context.input(3);
  if (sizes != kNoValue) scales = kNoValue;
  context.set_output(0, context.add(Op::resize, {context.required(0), roi, scales, sizes}, attributes));
}

void depth_to_space(OpContext& context) {
  Attributes attributes = with({{"blocksize", context.integer("blocksize", 0)}});
  if (context.type() == "SpaceToDepth") return context.set_output(0, context.add(Op::space_to_depth, {context.required(0)}, attributes));
  std::string mode = context.text("mode", "DCR");
  expect_one_of(context, "mode", mode, {"DCR", "CRD"});
  attributes.set("mode", mode);
  context.set_output(0, context.add(Op::depth_to_space, {context.required(0)}, attributes));
}

void grid_sample(OpContext& context) {
  std::string mode = context.text("mode", "linear"), padding = context.text("padding_mode", "zeros");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  expect_one_of(context, "mode", mode, {"linear", "nearest", "cubic"});
  expect_one_of(context, "padding_mode", padding, {"zeros", "border", "reflection"});
  Attributes attributes = with({{"mode", mode}, {"padding_mode", padding}, {"align_corners", context.integer("align_corners", 0)}});
  context.set_output(0, context.add(Op::grid_sample, {context.required(0), context.required(1)}, attributes));
}

}  // namespace lacuna::onnx::import
