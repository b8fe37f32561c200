// Reductions: axes are an attribute up to opset 17 (ReduceSum: an input since 13), an input from 18 on.
#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx::lower {
namespace {

template <const char* const& type>
void reduce(Lowering& l) {
  bool sum = l.node().op == Op::reduce_sum;
  bool noop = l.attributes().integer("noop_with_empty_axes", 0) != 0;
  if (!sum && (l.has(1) || noop)) l.needs_opset(18);
  std::map<std::string, AttributeValue> attributes = {{"keepdims", l.attributes().integer("keepdims", 1)}};
  std::vector<std::string> inputs = {l.input(0), l.input(1)};
  if (noop) attributes["noop_with_empty_axes"] = int64_t(1);
  if (l.attributes().has("axes")) {
    if (sum || l.opset() >= 18)
      inputs[1] = l.constant(l.attributes().integers("axes"));
    else
      attributes["axes"] = l.attributes().integers("axes");
  }
  l.finish(type, inputs, attributes);
}

constexpr const char *kSum = "ReduceSum", *kMean = "ReduceMean", *kMax = "ReduceMax", *kMin = "ReduceMin", *kProd = "ReduceProd", *kL1 = "ReduceL1",
                     *kL2 = "ReduceL2", *kSumSquare = "ReduceSumSquare", *kLogSumExp = "ReduceLogSumExp", *kLogSum = "ReduceLogSum";

const Entry kEntries[] = {
    {Op::reduce_sum, reduce<kSum>},
    {Op::reduce_mean, reduce<kMean>},
    {Op::reduce_max, reduce<kMax>},
    {Op::reduce_min, reduce<kMin>},
    {Op::reduce_prod, reduce<kProd>},
    {Op::reduce_l1, reduce<kL1>},
    {Op::reduce_l2, reduce<kL2>},
    {Op::reduce_sum_square, reduce<kSumSquare>},
    {Op::reduce_log_sum_exp, reduce<kLogSumExp>},
    {Op::reduce_log_sum, reduce<kLogSum>},
    {Op::arg_max, LACUNA_LOWER_AS("ArgMax", "axis", "keepdims", "select_last_index")},
    {Op::arg_min, LACUNA_LOWER_AS("ArgMin", "axis", "keepdims", "select_last_index")},
    {Op::cum_sum, LACUNA_LOWER_AS("CumSum", "exclusive", "reverse")},
    {Op::top_k, LACUNA_LOWER_AS("TopK", "axis", "largest", "sorted")},
};

}  // namespace

std::span<const Entry> reductions() { return kEntries; }

}  // namespace lacuna::onnx::lower
