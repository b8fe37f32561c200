#include "runtime/ops/ops.h"

#include "runtime/ops/codes.h"
#include "runtime/passes/fuse_epilogues.h"

namespace lacuna {

int64_t OpContext::codes_layout(const kernels::Rounding& rounding) const {
  auto& known = tables_.codings;
  auto it = std::find(known.begin(), known.end(), rounding);
  if (it == known.end()) it = known.insert(it, rounding);
  return kTokenCodes - (it - known.begin());
}

std::shared_ptr<const NextConv> OpContext::link(std::shared_ptr<const kernels::PackedConv> packed) const {
  if (tables_.next_conv) tables_.next_conv->packed = std::move(packed);
  return tables_.next_conv = std::make_shared<NextConv>();
}

const Tensor* OpContext::constant(size_t i) const {
  if (is_weight(i)) return &constant_(node().inputs[i]);
  return has(i) && computed_ ? computed_(node().inputs[i]) : nullptr;
}

std::optional<std::vector<int64_t>> OpContext::integers(size_t i) const {
  if (!has(i)) return std::nullopt;
  auto& elements = facts_[size_t(node().inputs[i])].elements;
  return elements ? constant_shape(*elements) : std::nullopt;
}

std::shared_ptr<RopeTables> OpContext::rope_tables(ValueId positions, const std::vector<double>& frequencies, double factor, bool interleaved) const {
  auto& tables = tables_.rope[{positions, frequencies, factor, interleaved}];
  if (!tables) tables = std::make_shared<RopeTables>(frequencies, factor, interleaved);
  return tables;
}

CompiledStep compile_op(const OpContext& context) {
  if (context.plan().coded) return compile_coded_step(context);
  switch (context.node().op) {
    case Op::linear: return compile_linear(context);
    case Op::matmul: return compile_matmul(context);
    case Op::embedding: return compile_embedding(context);
    case Op::conv: return compile_conv(context);
    case Op::conv_transpose: return compile_conv_transpose(context);
    case Op::quantize: return compile_quantize(context);
    case Op::dequantize: return compile_dequantize(context);
    case Op::attention: return compile_attention(context);
    case Op::rope: return compile_rope(context);
    case Op::layer_norm: return compile_layer_norm(context);
    case Op::instance_norm:
    case Op::group_norm: return compile_group_norm(context);
    case Op::rms_norm: return compile_rms_norm(context);
    case Op::batch_norm: return compile_batch_norm(context);
    case Op::softmax: return compile_softmax(context);
    case Op::log_softmax: return compile_log_softmax(context);
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::minimum:
    case Op::maximum:
    case Op::div: return compile_binary(context);
    case Op::equal:
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
    case Op::logical_and:
    case Op::logical_or:
    case Op::logical_xor: return compile_comparison(context);
    case Op::logical_not: return compile_not(context);
    case Op::where: return compile_where(context);
    case Op::cast: return compile_cast(context);
    case Op::pow: return compile_pow(context);
    case Op::global_average_pool: return compile_global_average_pool(context);
    case Op::global_max_pool: return compile_global_max_pool(context);
    case Op::max_pool:
    case Op::average_pool: return compile_pool(context);
    case Op::resize: return compile_resize(context);
    case Op::reduce_mean:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::reduce_sum: return compile_reduce(context);
    case Op::cum_sum: return compile_cum_sum(context);
    case Op::erf:
    case Op::elu:
    case Op::selu:
    case Op::celu:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::reciprocal:
    case Op::abs:
    case Op::neg:
    case Op::sign:
    case Op::floor:
    case Op::ceil:
    case Op::round:
    case Op::sin:
    case Op::cos:
    case Op::softsign:
    case Op::mish:
    case Op::softplus: return compile_unary(context);
    case Op::prelu: return compile_prelu(context);
    case Op::transpose: return compile_transpose(context);
    case Op::depth_to_space: return compile_depth_to_space(context);
    case Op::space_to_depth: return compile_space_to_depth(context);
    case Op::expand: return compile_expand(context);
    case Op::tile: return compile_tile(context);
    case Op::concat: return compile_concat(context);
    case Op::slice: return compile_slice(context);
    case Op::pad: return compile_pad(context);
    case Op::split: return compile_split(context);
    default: return compile_activation(context);
  }
}

}  // namespace lacuna
