// Pooling and resampling.
#include <algorithm>

#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx::lower {
namespace {

bool set(const Lowering& l, const char* name) { return l.attributes().integer(name, 0) != 0; }

void average_pool(Lowering& l) {
  auto dilations = l.attributes().integers("dilations");
  bool dilated = std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; });
  if (dilated) l.needs_opset(19);
  auto attributes = l.copied({"kernel_shape", "strides", "pads", "ceil_mode", "count_include_pad", "auto_pad"});
  if (dilated) attributes["dilations"] = dilations;
  l.finish("AveragePool", l.inputs(), attributes);
}

void lp_pool(Lowering& l) {
  if (l.attributes().has("dilations") || l.attributes().has("ceil_mode")) l.needs_opset(18);
  l.finish("LpPool", l.inputs(), l.copied({"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "p", "auto_pad"}));
}

void resize(Lowering& l) {
  if (set(l, "antialias") || l.attributes().has("axes") || l.attributes().has("keep_aspect_ratio_policy")) l.needs_opset(18);
  std::string transformation = l.attributes().text("coordinate_transformation_mode", "half_pixel");
  if (transformation == "half_pixel_symmetric") l.needs_opset(19);
  // ONNX dropped it: floor((x + 0.5) / scale) is half_pixel, (x + 0.5) / scale - 0.5, with halves rounded up.
  bool dropped = transformation == "tf_half_pixel_for_nn";
  if (dropped && (l.attributes().text("mode", "nearest") != "nearest" || l.attributes().text("nearest_mode", "") != "floor"))
    l.unsupported("coordinate_transformation_mode = tf_half_pixel_for_nn with other than nearest_mode = floor, which ONNX dropped");
  auto attributes = l.copied({"mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value",
                              "axes", "keep_aspect_ratio_policy"});
  if (set(l, "antialias")) attributes["antialias"] = int64_t(1);
  if (dropped)
    attributes["coordinate_transformation_mode"] = std::string("half_pixel"), attributes["nearest_mode"] = std::string("round_prefer_ceil");
  l.finish("Resize", l.inputs(), attributes);
}

void grid_sample(Lowering& l) {
  std::string mode = l.attributes().text("mode", "linear");
  if (l.rank(0) && *l.rank(0) != 4) l.needs_opset(20);
  if (l.opset() < 20 && mode == "linear") mode = "bilinear";
  if (l.opset() < 20 && mode == "cubic") mode = "bicubic";
  auto attributes = l.copied({"padding_mode", "align_corners"});
  attributes["mode"] = mode;
  l.finish("GridSample", l.inputs(), attributes);
}

const Entry kEntries[] = {
    {Op::max_pool, LACUNA_LOWER_AS("MaxPool", "kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad", "storage_order")},
    {Op::average_pool, average_pool},
    {Op::lp_pool, lp_pool},
    {Op::global_average_pool, LACUNA_LOWER_AS("GlobalAveragePool")},
    {Op::global_max_pool, LACUNA_LOWER_AS("GlobalMaxPool")},
    {Op::resize, resize},
    {Op::depth_to_space, LACUNA_LOWER_AS("DepthToSpace", "blocksize", "mode")},
    {Op::space_to_depth, LACUNA_LOWER_AS("SpaceToDepth", "blocksize")},
    {Op::grid_sample, grid_sample},
};

}  // namespace

std::span<const Entry> pooling() { return kEntries; }

}  // namespace lacuna::onnx::lower
