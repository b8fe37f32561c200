// What the import functions of quantized ops share.
#pragma once

#include "io/onnx/importer.h"

namespace lacuna::onnx {

// (x - zero_point) * scale; scales of more than one element lie along `axis`.
ValueId dequantized(OpContext& context, ValueId x, ValueId scale, ValueId zero_point, int64_t axis, std::string_view suffix);
// The code of y: y / scale + zero_point, rounded and saturated.
ValueId quantized(OpContext& context, ValueId y, ValueId scale, ValueId zero_point, std::string_view suffix);
// x - zero_point as f32.
ValueId integer_value(OpContext& context, ValueId x, ValueId zero_point, int64_t axis, std::string_view suffix);
// The scale of a product, a constant if both are; `a` has one element.
ValueId product_of_scales(OpContext& context, ValueId a, ValueId b, std::string_view suffix);

}  // namespace lacuna::onnx
