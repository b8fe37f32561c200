// Gather, GatherElements, GatherND (12 adds batch_dims), Scatter (9; the old name of ScatterElements), ScatterElements and ScatterND
// (16 adds the reductions add and mul, 18 max and min); ReverseSequence.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void gather(OpContext& context) {
  ValueId x = context.required(0), indices = context.required(1);
  const std::string& type = context.type();
  if (type == "GatherND")
    return context.set_output(0, context.add(Op::gather_nd, {x, indices}, with({{"batch_dims", context.integer("batch_dims", 0)}})));
  context.set_output(0, context.add(type == "Gather" ? Op::gather : Op::gather_elements, {x, indices}, with({{"axis", context.integer("axis", 0)}})));
}

void scatter(OpContext& context) {
  std::string reduction = context.text("reduction", "none");
  if (reduction != "none" && reduction != "add" && reduction != "mul" && reduction != "max" && reduction != "min")
    context.unsupported("reduction = " + reduction);
  Attributes attributes = with({{"reduction", reduction}});
  bool nd = context.type() == "ScatterND";
  if (!nd) attributes.set("axis", context.integer("axis", 0));
  context.set_output(
      0, context.add(nd ? Op::scatter_nd : Op::scatter_elements, {context.required(0), context.required(1), context.required(2)}, attributes));
}

// Position t of row b holds what was at (t < length[b] ? length[b] - 1 - t : t).
void reverse_sequence(OpContext& context) {
  ValueId x = context.required(0), lengths = context.required(1);
  int64_t batch_axis = context.integer("batch_axis", 1), time_axis = context.integer("time_axis", 0);
  if (batch_axis + time_axis != 1 || batch_axis * time_axis != 0)
    context.invalid(cat("axes are ", batch_axis, " and ", time_axis, ", wanted 0 and 1"));
  std::vector<int64_t> swapped(size_t(context.required_rank(x)));
  if (swapped.size() < 2) context.invalid(cat("input 0 has ", swapped.size(), " dimensions, wanted 2 or more"));
  for (size_t i = 0; i < swapped.size(); i++) swapped[i] = i < 2 ? 1 - int64_t(i) : int64_t(i);
  auto batch_first = [&](ValueId v, const char* suffix) {
    return time_axis == 1 ? v : context.add(Op::transpose, {v}, with({{"perm", swapped}}), suffix);
  };
  ValueId rows = batch_first(x, "batch_first");
  ValueId size = context.add(Op::shape_of, {rows}, with({{"start", int64_t(1)}, {"end", int64_t(2)}}), "steps");
  size = context.add(Op::squeeze, {size}, with({{"axes", std::vector<int64_t>{0}}}), "step_count");
  ValueId zero = context.scalar(0, DType::kS64, "zero"), one = context.scalar(1, DType::kS64, "one");
  ValueId t = context.add(Op::range, {zero, size, one}, {}, "positions");                                         // [steps]
  ValueId length = context.add(Op::unsqueeze, {lengths}, with({{"axes", std::vector<int64_t>{1}}}), "lengths");   // [batch, 1]
  ValueId mirrored = context.add(Op::sub, {context.add(Op::sub, {length, one}, {}, "last"), t}, {}, "mirrored");  // [batch, steps]
  ValueId from = context.add(Op::where, {context.add(Op::less, {t, length}, {}, "inside"), mirrored, t}, {}, "from");
  from = context.add(Op::unsqueeze, {from}, with({{"axes", std::vector<int64_t>{2}}}), "indices");
  ValueId y = context.add(Op::gather_nd, {rows, from}, with({{"batch_dims", int64_t(1)}}), "reversed");
  context.set_output(0, batch_first(y, "time_first"));
}

}  // namespace lacuna::onnx::import
