#include "models/encoder.h"

#include <cmath>

#include "base/cat.h"

namespace lacuna {

ValueId encoder_layer(Builder& b, const EncoderNames& names, const EncoderShapes& s, ValueId x, ValueId mask, int64_t index,
                      const std::string& layer) {
  auto named = [&](const char* name) { return cat(layer, ".", name); };
  int64_t head_dim = s.width / s.heads;
  b.set_block(cat("layers.", index, ".self_attn"));
  ValueId q = b.linear(x, named(names.query), s.width, s.width, true);
  ValueId k = b.linear(x, named(names.key), s.width, s.width, true);
  ValueId v = b.linear(x, named(names.value), s.width, s.width, true);
  AttentionShape shape{.heads = s.heads, .kv_heads = s.heads, .head_dim = head_dim, .scale = 1 / std::sqrt(double(head_dim)), .causal = false};
  ValueId a = b.attention(q, k, v, mask, shape, -1, named("attention"));
  ValueId sum = b.residual(x, b.linear(a, named(names.output), s.width, s.width, true), named("attention"));
  x = b.layer_norm(sum, named(names.output_norm), s.width, s.epsilon);

  b.set_block(cat("layers.", index, ".mlp"));
  ValueId hidden = b.activation(b.linear(x, named(names.inner), s.width, s.inner, true), s.activation, named("activation"));
  sum = b.residual(x, b.linear(hidden, named(names.outer), s.inner, s.width, true), named("mlp"));
  return b.layer_norm(sum, named(names.outer_norm), s.width, s.epsilon);
}

}  // namespace lacuna
