// The table of op schemas, collected from the files of ops/, and what each attribute name holds.
#include <array>
#include <map>

#include "base/assert.h"
#include "graph/ops/rules.h"

namespace lacuna {
namespace {

constexpr size_t kOpCount = 0
#define LACUNA_OP(name, help) +1
#include "graph/ops.def"
#undef LACUNA_OP
    ;

std::array<const OpSchema*, kOpCount> make_table() {
  std::array<const OpSchema*, kOpCount> table{};
  for (auto group :
       {ops::linear_schemas(), ops::conv_schemas(), ops::attention_schemas(), ops::norm_schemas(), ops::elementwise_schemas(), ops::pool_schemas(),
        ops::reduce_schemas(), ops::shape_schemas(), ops::gather_schemas(), ops::quantize_schemas(), ops::recurrent_schemas(), ops::detect_schemas()})
    for (const OpSchema& schema : group) {
      LACUNA_ASSERT(!table[size_t(schema.op)]);
      table[size_t(schema.op)] = &schema;
    }
  for (const OpSchema* schema : table) LACUNA_ASSERT(schema);
  return table;
}

const std::map<std::string_view, AttributeKind>& attribute_kinds() {
  using enum AttributeKind;
  static const std::map<std::string_view, AttributeKind> kinds = {
      {"transposed", kInteger},
      {"groups", kInteger},
      {"from_end", kInteger},
      {"transpose_a", kInteger},
      {"transpose_b", kInteger},
      {"heads", kInteger},
      {"kv_heads", kInteger},
      {"head_dim", kInteger},
      {"causal", kInteger},
      {"window", kInteger},
      {"rotary_dim", kInteger},
      {"interleaved", kInteger},
      {"offset", kInteger},
      {"padding_id", kInteger},
      {"axis", kInteger},
      {"p", kInteger},
      {"size", kInteger},
      {"flatten", kInteger},
      {"fmod", kInteger},
      {"ceil_mode", kInteger},
      {"storage_order", kInteger},
      {"count_include_pad", kInteger},
      {"exclude_outside", kInteger},
      {"antialias", kInteger},
      {"blocksize", kInteger},
      {"align_corners", kInteger},
      {"keepdims", kInteger},
      {"noop_with_empty_axes", kInteger},
      {"select_last_index", kInteger},
      {"exclusive", kInteger},
      {"reverse", kInteger},
      {"largest", kInteger},
      {"sorted", kInteger},
      {"start", kInteger},
      {"end", kInteger},
      {"allowzero", kInteger},
      {"num_outputs", kInteger},
      {"batch_dims", kInteger},
      {"upper", kInteger},
      {"k", kInteger},
      {"center_point_box", kInteger},
      {"block_size", kInteger},
      {"hidden_size", kInteger},
      {"input_forget", kInteger},
      {"layout", kInteger},
      {"linear_before_reset", kInteger},
      {"detect_negative", kInteger},
      {"detect_positive", kInteger},
      {"scale", kNumber},
      {"softcap", kNumber},
      {"theta", kNumber},
      {"attention_factor", kNumber},
      {"epsilon", kNumber},
      {"scale_offset", kNumber},
      {"alpha", kNumber},
      {"beta", kNumber},
      {"gamma", kNumber},
      {"bias", kNumber},
      {"lambd", kNumber},
      {"min", kNumber},
      {"max", kNumber},
      {"cubic_coeff_a", kNumber},
      {"extrapolation_value", kNumber},
      {"value", kNumber},
      {"clip", kNumber},
      {"auto_pad", kText},
      {"equation", kText},
      {"approximate", kText},
      {"to", kText},
      {"mode", kText},
      {"coordinate_transformation_mode", kText},
      {"nearest_mode", kText},
      {"keep_aspect_ratio_policy", kText},
      {"padding_mode", kText},
      {"reduction", kText},
      {"dtype", kText},
      {"direction", kText},
      {"activations", kText},
      {"strides", kIntegers},
      {"pads", kIntegers},
      {"dilations", kIntegers},
      {"output_padding", kIntegers},
      {"output_shape", kIntegers},
      {"kernel_shape", kIntegers},
      {"axes", kIntegers},
      {"perm", kIntegers},
      {"split", kIntegers},
      {"inv_freq", kNumbers},
      {"activation_alpha", kNumbers},
      {"activation_beta", kNumbers},
  };
  return kinds;
}

}  // namespace

const OpSchema& schema_of(Op op) {
  static const auto table = make_table();
  return *table[size_t(op)];
}

std::optional<AttributeKind> attribute_kind(std::string_view name) noexcept {
  auto it = attribute_kinds().find(name);
  return it == attribute_kinds().end() ? std::nullopt : std::optional(it->second);
}

}  // namespace lacuna
