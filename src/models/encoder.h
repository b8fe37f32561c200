// The layer that BERT and its relatives share: attention and MLP, each followed by a layer norm of the sum.
#pragma once

#include <string>

#include "models/builder.h"

namespace lacuna {

// Names of a layer's modules below the layer's own name.
struct EncoderNames {
  const char *query, *key, *value, *output, *output_norm, *inner, *outer, *outer_norm;
};

struct EncoderShapes {
  int64_t width, inner, heads;
  double epsilon;
  std::string activation;
};

//   x = norm(x + output(attention(query(x), key(x), value(x), mask)));  x = norm(x + outer(act(inner(x))))
ValueId encoder_layer(Builder& b, const EncoderNames& names, const EncoderShapes& s, ValueId x, ValueId mask, int64_t index,
                      const std::string& layer);

}  // namespace lacuna
