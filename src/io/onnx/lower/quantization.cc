// Quantization of activations.
#include "io/onnx/lower/lowerings.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::lower {
namespace {

bool narrow(DType dtype) { return dtype == DType::kU8 || dtype == DType::kS8 || dtype == DType::kS32; }

std::map<std::string, AttributeValue> attributes_of(Lowering& l, DType codes) {
  if (l.attributes().integer("block_size", 0) > 0 || !narrow(codes)) l.needs_opset(21);
  auto attributes = l.copied({"axis"});
  if (int64_t block = l.attributes().integer("block_size", 0); block > 0) attributes["block_size"] = block;
  return attributes;
}

void quantize(Lowering& l) {
  std::vector<std::string> inputs = l.inputs();
  DType dtype = l.has(2) ? l.dtype(2) : *dtype_from_name(l.attributes().text("dtype", "u8"));
  auto attributes = attributes_of(l, dtype);
  if (!l.has(2) && dtype != DType::kU8) {
    l.needs_opset(21);
    attributes["output_dtype"] = int64_t(code_of(dtype));
  }
  l.finish("QuantizeLinear", inputs, attributes);
}

void dequantize(Lowering& l) { l.finish("DequantizeLinear", l.inputs(), attributes_of(l, l.dtype(0))); }

const Entry kEntries[] = {
    {Op::quantize, quantize},
    {Op::dequantize, dequantize},
    {Op::dynamic_quantize, LACUNA_LOWER_AS("DynamicQuantizeLinear")},
};

}  // namespace

std::span<const Entry> quantization() { return kEntries; }

}  // namespace lacuna::onnx::lower
