// Concat since 4 (11 allows negative axes). Split: 2 and 11 have the sizes as an attribute, 13 as an input, 18 adds num_outputs.
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void concat(OpContext& context) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < context.input_count(); i++) inputs.push_back(context.required(i));
  if (inputs.empty()) context.invalid("has no inputs");
  context.set_output(0, context.add(Op::concat, inputs, with({{"axis", context.integer("axis", 1)}})));
}

void split(OpContext& context) {
  Attributes attributes = with({{"axis", context.integer("axis", 0)}});
  ValueId sizes = context.input(1);
  if (context.has_attribute("split")) attributes.set("split", context.integers("split"));
  if (auto known = context.integers_of(sizes)) {
    attributes.set("split", *known);
    sizes = kNoValue;
  }
  if (sizes == kNoValue && !attributes.has("split")) attributes.set("num_outputs", context.integer("num_outputs", int64_t(context.output_count())));
  auto results = context.add_node(Op::split, {context.required(0), sizes}, context.output_count(), attributes);
  for (size_t i = 0; i < results.size(); i++) context.set_output(i, results[i]);
}

}  // namespace lacuna::onnx::import
