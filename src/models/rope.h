// Rotary position embeddings as configurations state them.
#pragma once

#include <cstdint>
#include <vector>

#include "models/config.h"

namespace lacuna {

struct Rope {
  int64_t rotary_dim = 0;  // leading dimensions of a head that rotate
  double theta = 10000;
  std::vector<double> inv_freq;  // [rotary_dim / 2]; empty: theta^(-2i / rotary_dim)
  double attention_factor = 1;   // multiplies cos and sin
};

struct RopeDefaults {
  double theta = 10000;
  double partial_rotary_factor = 1;
  bool allow_partial = false;  // false: a partial_rotary_factor other than 1 is refused, as transformers ignores it in the family
};

// rope_parameters, or rope_theta and rope_scaling of older configurations. Types: default, linear, dynamic (within the model's
// maximum it is the default), llama3, yarn, longrope. Frequencies are computed in f32 step by step as transformers does
// (modeling_rope_utils.py, 5.x), so that long contexts agree. Throws Unsupported listing the known types; InvalidData.
Rope read_rope(const Config& config, int64_t head_dim, RopeDefaults defaults = {});

}  // namespace lacuna
