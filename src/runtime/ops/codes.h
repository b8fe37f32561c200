// Steps on codes held with the channels of a pixel together (kChannelsLast), as signed bytes: those of u8 less 128.
#pragma once

#include <optional>

#include "kernels/conv.h"
#include "runtime/ops/ops.h"

namespace lacuna {

// A conv of a weight in one or two spatial dimensions, or in three of which the kernel moves along the first alone, as the kernels see it; nullopt
// for others.
struct ConvShape {
  kernels::ConvProblem problem;
  int64_t batch, in_h, in_w;
};
std::optional<ConvShape> conv_shape(const OpContext& context);

// For plan nodes with `codes`.
CompiledStep compile_codes_conv(const OpContext& context);
CompiledStep compile_codes_pool(const OpContext& context);
CompiledStep compile_codes_mean(const OpContext& context);
CompiledStep compile_coded_step(const OpContext& context);  // PlanNode::coded

// Codes of `type` in planes, [n, c, pixels], to channels last and back.
void codes_to_pixels(const Shape& shape, DType type, const std::byte* x, std::byte* y);
void codes_from_pixels(const Shape& shape, DType type, const std::byte* x, std::byte* y);

}  // namespace lacuna
