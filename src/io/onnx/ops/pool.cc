// Pooling. MaxPool: 8 adds the indices output, 10 dilations and ceil_mode. AveragePool: 7 adds count_include_pad, 10 ceil_mode,
// 19 dilations. LpPool: 18 adds dilations and ceil_mode.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void pool(OpContext& context) {
  ValueId x = context.required(0);
  const std::string& type = context.type();
  Op op = type == "MaxPool" ? Op::max_pool : type == "AveragePool" ? Op::average_pool : Op::lp_pool;
  Attributes attributes;
  context.copy(attributes, {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "count_include_pad", "p"});
  if (op == Op::lp_pool) attributes.set("p", context.integer("p", 2));
  std::string auto_pad = context.text("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && !auto_pad.empty()) attributes.set("auto_pad", auto_pad);
  bool indices = op == Op::max_pool && context.wants(1);
  if (indices) context.copy(attributes, {"storage_order"});
  auto results = context.add_node(op, {x}, indices ? 2 : 1, attributes);
  context.set_output(0, results[0]);
  if (indices) context.set_output(1, results[1]);
}

void global_pool(OpContext& context) {
  ValueId x = context.required(0);
  if (context.type() == "GlobalAveragePool") return context.set_output(0, context.add(Op::global_average_pool, {x}));
  if (context.type() == "GlobalMaxPool") return context.set_output(0, context.add(Op::global_max_pool, {x}));
  int64_t p = context.integer("p", 2);
  if (p != 1 && p != 2) context.unsupported(cat("p = ", p));
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < context.required_rank(x); i++) axes.push_back(i);
  context.set_output(0, context.add(p == 1 ? Op::reduce_l1 : Op::reduce_l2, {x}, with({{"axes", axes}})));
}

}  // namespace lacuna::onnx::import
