// How the sums of an int8 convolution become codes: the roundings, residual and activation of a CodesConv as the loops of pixels.h take them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/conv.h"
#include "kernels/integer/pixels.h"

namespace lacuna::kernels {

// From sums to codes: what is the same for all blocks. The last of two roundings is a table.
struct CodesEnd {
  CodesEnd(const ConvProblem& p, const PixelIsa& isa, const CodesConv& c) : call(c) {
    task.x_scale = p.input_scale;
    task.residual_scale = c.residual_scale, task.residual_zero = c.residual_zero;
    task.y_stride = p.out_channels;
    if (c.residual && c.product.scale > 0)
      task.product = {
          .scale = c.product.scale, .inverse = 1.0f / c.product.scale, .low = float(-128 - c.product.zero), .high = float(127 - c.product.zero)};
    const Rounding& before = c.residual ? c.sum : c.product;
    task.code = last_code();
    if (before.scale > 0) {
      if (c.table)
        std::copy_n(c.table, table.size(), table.data());
      else
        isa.fill_code_table(before.scale, before.zero, c.y_scale, task.code, table.data());
      task.last = task.code, task.table_factor = c.table ? 0 : factor_like_table(before);
      task.code = {.inverse = 1.0f / before.scale, .zero = before.zero};
      task.table = table.data();
    }
  }
  CodesEnd(const CodesEnd&) = delete;
  CodesEnd& operator=(const CodesEnd&) = delete;

  // 0 if a product falls beside a tie where the table's quotient does not, or could be no integer.
  float factor_like_table(const Rounding& before) const {
    float factor = before.scale / call.y_scale;
    if (!(factor < 0x1p12f)) return 0;
    for (int32_t code = -128; code < 128; code++) {
      int32_t found = std::clamp(int32_t(std::nearbyint(float(code - before.zero) * factor)) + task.last.zero, task.last.low, task.last.high);
      if (found != table[size_t(uint8_t(code))]) return 0;
    }
    return factor;
  }

  CodeOutput last_code() const {
    float inverse = 1.0f / call.y_scale, least = float(-128 - call.y_zero), most = float(127 - call.y_zero), low = least, high = most;
    auto clip = [&](float l, float h) { low = std::clamp(l, least, most), high = std::clamp(h, low, most); };
    if (call.activation == Activation::kRelu) clip(0, most);
    if (call.activation == Activation::kRelu6) clip(0, 6 * inverse);
    if (call.activation == Activation::kClip) clip(call.alpha * inverse, call.beta * inverse);
    auto code = [&](float v) { return int32_t(std::nearbyint(v)) + call.y_zero; };
    return {.inverse = inverse, .zero = call.y_zero, .low = code(low), .high = code(high)};
  }

  const CodesConv& call;
  const float* bias = call.bias;  // in the order of the sums, where that is another
  CodeStore task = {};
  alignas(64) std::array<int8_t, 256> table;
};

}  // namespace lacuna::kernels
