// Reductions. Axes are an attribute up to 11 (ReduceSum) or 13 (the others), from 13 or 18 on an input; 20 adds bool.
// ArgMax and ArgMin: 12 adds select_last_index. TopK: 1 has k as an attribute, 10 as an input, 11 adds largest and sorted.
#include <map>

#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void reduce(OpContext& context) {
  static const std::map<std::string_view, Op> ops = {
      {"ReduceL1", Op::reduce_l1},          {"ReduceL2", Op::reduce_l2},
      {"ReduceLogSum", Op::reduce_log_sum}, {"ReduceLogSumExp", Op::reduce_log_sum_exp},
      {"ReduceMax", Op::reduce_max},        {"ReduceMean", Op::reduce_mean},
      {"ReduceMin", Op::reduce_min},        {"ReduceProd", Op::reduce_prod},
      {"ReduceSum", Op::reduce_sum},        {"ReduceSumSquare", Op::reduce_sum_square},
  };
  Attributes attributes = with({{"keepdims", context.integer("keepdims", 1)}});
  if (context.integer("noop_with_empty_axes", 0)) attributes.set("noop_with_empty_axes", int64_t(1));
  ValueId axes = context.input(1);
  if (context.has_attribute("axes")) attributes.set("axes", context.integers("axes"));
  if (auto known = context.integers_of(axes)) {
    if (!known->empty()) attributes.set("axes", *known);
    axes = kNoValue;
  }
  context.set_output(0, context.add(ops.at(context.type()), {context.required(0), axes}, attributes));
}

void arg(OpContext& context) {
  Attributes attributes = with({{"axis", context.integer("axis", 0)}, {"keepdims", context.integer("keepdims", 1)}});
  context.copy(attributes, {"select_last_index"});
  context.set_output(0, context.add(context.type() == "ArgMax" ? Op::arg_max : Op::arg_min, {context.required(0)}, attributes));
}

void cum_sum(OpContext& context) {
  Attributes attributes;
  context.copy(attributes, {"exclusive", "reverse"});
  context.set_output(0, context.add(Op::cum_sum, {context.required(0), context.required(1)}, attributes));
}

void top_k(OpContext& context) {
  ValueId x = context.required(0);
  ValueId k = context.version() >= 10 ? context.required(1) : context.constant({context.integer("k", 0)}, "k");
  Attributes attributes = with({{"axis", context.integer("axis", -1)}});
  context.copy(attributes, {"largest", "sorted"});
  auto results = context.add_node(Op::top_k, {x, k}, 2, attributes);
  context.set_output(0, results[0]);
  context.set_output(1, results[1]);
}

}  // namespace lacuna::onnx::import
