// Norms, softmax, activations and elementwise arithmetic.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "kernels/coded_tokens.h"
#include "kernels/transformer.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/codes.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/vector_ops.h"
#include "runtime/passes/fuse_epilogues.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// Size of the trailing axes from `axis` on; 0 if scale or bias (inputs 1 and 2) are not plain vectors over them.
int64_t trailing_size(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t axis = context.attributes().integer("axis", -1);
  if (axis < 0) axis += int64_t(x.size());
  int64_t n = element_count(std::span(x).subspan(size_t(axis)));
  for (size_t i = 1; i < 3; i++)
    if (context.has(i) && (!context.is_float(i) || element_count(context.shape(i)) != n)) return 0;
  return n;
}

// What follows each row of a step whose result is rounded, and that writes codes too if asked for.
kernels::AfterRow after_rows(const StepCall& call, const InputRounding& result, const std::optional<kernels::Rounding>& codes, int64_t rows,
                             int64_t n) {
  if (!result && !codes) return {};
  return [=, out = codes ? kernels::coded_tokens(call.out(1).mutable_raw(), rows, n) : kernels::CodedTokens{}](int64_t row, float* y) {
    if (result) round_values(result.of_values(), y, n);
    if (codes) kernels::code_token(y, *codes, row, out);
  };
}

// Codes are of tokens, which rows are if the step works along the last axis alone.
std::function<StepFn(const kernels::Rounding&)> with_codes(const OpContext& context, int64_t n, auto step) {
  if (n != context.shape(0).back()) return {};
  return step;
}

}  // namespace

CompiledStep compile_layer_norm(const OpContext& context) {
  int64_t n = trailing_size(context);
  if (n == 0) return {};
  int64_t rows = element_count(context.shape(0)) / n;
  float epsilon = float(context.attributes().number("epsilon", 1e-5));
  auto step = [=, result = context.plan().sum](std::optional<kernels::Rounding> codes) {
    return [=](const StepCall& call) {
      kernels::layer_norm_rows(call.floats(0), rows, n, call.floats(1), call.floats(2), epsilon, call.out_floats(),
                               after_rows(call, result, codes, rows, n));
    };
  };
  return {.kernel = "rows", .run = step({}), .in_place = {0}, .run_with_codes = with_codes(context, n, step), .rounds = true};
}

// Each group of channels of an image is a row; an instance norm has a group for each channel.
CompiledStep compile_group_norm(const OpContext& context) {
  if (!context.is_float(0) || !context.is_float(1) || !context.is_float(2)) return {};
  Shape x = context.shape(0);
  int64_t channels = x[1], groups = context.node().op == Op::instance_norm ? channels : context.attributes().integer("groups", 1);
  if (element_count(x) == 0) return {};
  int64_t rows = x[0] * groups, n = element_count(x) / rows, of_group = channels / groups, space = n / of_group;
  float epsilon = float(context.attributes().number("epsilon", 1e-5));
  return {.kernel = "rows",
          .run =
              [=](const StepCall& call) {
                kernels::layer_norm_rows(call.floats(0), rows, n, nullptr, nullptr, epsilon, call.out_floats(), [&](int64_t row, float* y) {
                  for (int64_t i = 0, c = row % groups * of_group; i < of_group; i++, c++)
                    scale_and_shift(y + i * space, space, call.floats(1)[c], call.floats(2)[c], y + i * space);
                });
              },
          .in_place = {0}};
}

CompiledStep compile_rms_norm(const OpContext& context) {
  int64_t n = trailing_size(context);
  if (n == 0) return {};
  int64_t rows = element_count(context.shape(0)) / n;
  float epsilon = float(context.attributes().number("epsilon", 1e-5)), offset = float(context.attributes().number("scale_offset", 0));
  auto step = [=, result = context.plan().sum](std::optional<kernels::Rounding> codes) {
    return [=](const StepCall& call) {
      kernels::rms_norm_rows(call.floats(0), rows, n, call.floats(1), offset, epsilon, call.out_floats(), after_rows(call, result, codes, rows, n));
    };
  };
  return {.kernel = "rows", .run = step({}), .in_place = {0}, .run_with_codes = with_codes(context, n, step), .rounds = true};
}

CompiledStep compile_batch_norm(const OpContext& context) {
  for (size_t i = 1; i < 5; i++)
    if (!context.constant(i)) return {};
  Shape x = context.shape(0);
  int64_t channels = x[1], planes = x[0] * x[1], space = planes ? element_count(x) / planes : 0;
  std::vector<float> factor(static_cast<size_t>(channels)), offset(static_cast<size_t>(channels));
  auto at = [&](size_t input, size_t c) { return double(context.constant(input)->data<float>()[c]); };
  for (size_t c = 0; c < size_t(channels); c++) {
    double f = at(1, c) / std::sqrt(at(4, c) + context.attributes().number("epsilon", 1e-5));
    factor[c] = float(f), offset[c] = float(at(2, c) - at(3, c) * f);
  }
  if (int64_t block = context.block(0)) {
    int64_t blocks = (channels + block - 1) / block;
    factor.resize(size_t(blocks * block), 0), offset.resize(size_t(blocks * block), 0);
    return {.kernel = "channel blocks",
            .run =
                [=](const StepCall& call) {
                  parallel_for(x[0] * blocks, [&](int64_t index) {
                    float* y = call.out_floats() + index * space * block;
                    combine_lanes(BinaryOp::kMul, call.floats(0) + index * space * block, factor.data() + index % blocks * block, space, block, y);
                    combine_lanes(BinaryOp::kAdd, y, offset.data() + index % blocks * block, space, block, y);
                  });
                },
            .in_place = {0},
            .input_blocks = {block},
            .output_block = block};
  }
  return {.kernel = "channels",
          .run =
              [=](const StepCall& call) {
                parallel_for(planes, [&](int64_t p) {
                  scale_and_shift(call.floats(0) + p * space, space, factor[size_t(p % channels)], offset[size_t(p % channels)],
                                  call.out_floats() + p * space);
                });
              },
          .in_place = {0}};
}

namespace {

struct UnaryKind {
  UnaryOp op;
  bool finite = true;  // what is finite gives what is finite
};
UnaryKind unary_kind(Op op) {
  switch (op) {
    case Op::erf: return {UnaryOp::kErf};
    case Op::elu: return {UnaryOp::kElu};
    case Op::selu: return {UnaryOp::kSelu};
    case Op::celu: return {UnaryOp::kCelu};
    case Op::mish: return {UnaryOp::kMish};
    case Op::softplus: return {UnaryOp::kSoftplus};
    case Op::softsign: return {UnaryOp::kSoftsign};
    case Op::exp: return {UnaryOp::kExp, false};
    case Op::log: return {UnaryOp::kLog, false};
    case Op::sqrt: return {UnaryOp::kSqrt, false};
    case Op::reciprocal: return {UnaryOp::kReciprocal, false};
    case Op::abs: return {UnaryOp::kAbs};
    case Op::neg: return {UnaryOp::kNeg};
    case Op::sign: return {UnaryOp::kSign};
    case Op::floor: return {UnaryOp::kFloor};
    case Op::ceil: return {UnaryOp::kCeil};
    case Op::round: return {UnaryOp::kRound};
    case Op::sin: return {UnaryOp::kSin};
    case Op::cos: return {UnaryOp::kCos};
    default: LACUNA_ASSERT(!"no such loop");
  }
}

}  // namespace

CompiledStep compile_unary(const OpContext& context) {
  if (!context.is_float(0)) return {};
  const auto [op, finite] = unary_kind(context.node().op);
  const bool scaled = op == UnaryOp::kSelu;
  const float alpha = float(context.attributes().number("alpha", scaled ? 1.67326319217681884765625 : 1));
  const float gamma = float(context.attributes().number("gamma", scaled ? 1.05070102214813232421875 : 1));
  if (op == UnaryOp::kCelu && !(alpha > 0)) return {};
  int64_t block = context.block(0);
  if (block && !finite && context.shape(0)[1] % block) block = 0;  // lanes beyond the channels must not become infinite
  int64_t n = blocked_count(context.shape(0), block);
  return {.kernel = "vector",
          .run =
              [=, op = op](const StepCall& call) {
                parallel_for((n + kElementTile - 1) / kElementTile, [&](int64_t tile) {
                  int64_t first = tile * kElementTile;
                  apply(op, call.floats(0) + first, std::min(kElementTile, n - first), alpha, gamma, call.out_floats() + first);
                });
              },
          .in_place = {0},
          .input_blocks = {block},
          .output_block = block};
}

// Over axes that follow each other; others are left to the reference.
CompiledStep compile_reduce(const OpContext& context) {
  if (!context.is_float(0)) return {};
  Shape x = context.shape(0);
  std::optional<std::vector<int64_t>> axes = context.has(1) ? context.integers(1) : context.attributes().integers("axes");
  if (!axes || (axes->empty() && context.attributes().integer("noop_with_empty_axes", 0) != 0)) return {};
  std::vector<bool> reduced(x.size(), axes->empty());
  for (int64_t axis : *axes) reduced[size_t(axis < 0 ? axis + int64_t(x.size()) : axis)] = true;
  // x as [outer, length, inner], the middle of which is reduced.
  int64_t outer = 1, length = 1, inner = 1;
  bool begun = false;
  for (size_t i = 0; i < x.size(); i++) {
    if (x[i] == 1) continue;
    if (reduced[i] && inner > 1) return {};
    begun |= reduced[i];
    (reduced[i] ? length : begun ? inner : outer) *= x[i];
  }
  if (length == 0 || inner == 0) return {};
  const Op of = context.node().op;
  const BinaryOp op = of == Op::reduce_max ? BinaryOp::kMaximum : of == Op::reduce_min ? BinaryOp::kMinimum : BinaryOp::kAdd;
  const float divisor = of == Op::reduce_mean ? float(length) : 1;
  if (inner == 1 && length < 4 && outer > 1 && op != BinaryOp::kAdd) return {};  // calls cost more than they save
  if (inner == 1) {
    const int64_t rows_per_tile = std::max<int64_t>(1, kElementTile / length);
    return {.kernel = "rows",
            .run =
                [=](const StepCall& call) {
                  parallel_for((outer + rows_per_tile - 1) / rows_per_tile, [&](int64_t tile) {
                    for (int64_t r = tile * rows_per_tile; r < std::min(outer, (tile + 1) * rows_per_tile); r++)
                      call.out_floats()[r] = fold_array(op, call.floats(0) + r * length, length) / divisor;
                  });
                },
            .unread = {1}};
  }
  // A piece of the columns is worth a thread, and at least some lines of the cache in each row.
  const int64_t width = std::min(inner, std::max<int64_t>(kElementTile / length, 256)), pieces = (inner + width - 1) / width;
  const int64_t together = std::max<int64_t>(1, kElementTile / (length * inner));
  return {.kernel = "columns",
          .run =
              [=](const StepCall& call) {
                parallel_for((outer + together - 1) / together * pieces, [&](int64_t tile) {
                  const int64_t first = tile % pieces * width, count = std::min(width, inner - first);
                  for (int64_t o = tile / pieces * together, end = std::min(outer, o + together); o < end; o++) {
                    float* y = call.out_floats() + o * inner + first;
                    fold_rows(op, call.floats(0) + o * length * inner + first, length, inner, count, y);
                    if (of == Op::reduce_mean) combine(BinaryOp::kDiv, y, false, &divisor, true, count, y);
                  }
                });
              },
          .unread = {1}};
}

namespace {

// [outer, length, inner] around what a softmax is along; of a type that has no fast path, or of nothing, 0 elements.
reference::AxisView softmax_view(const OpContext& context) {
  const Shape x = context.shape(0);
  const bool flatten = context.attributes().integer("flatten", 0) != 0;
  int64_t axis = context.attributes().integer("axis", flatten ? 1 : -1), rank = int64_t(x.size());
  if (axis < 0) axis += rank;
  reference::AxisView view(x, axis);
  if (flatten) view.length *= view.inner, view.inner = 1;
  if (rank == 0 || !context.is_float(0)) view.length = 0;
  return view;
}

// Along an axis that is not the last, in pieces of columns: y = e^(x - largest) first, then by their sums. `logarithm` reads x once more.
CompiledStep softmax_columns(const reference::AxisView& view, bool logarithm) {
  constexpr int64_t kColumns = 256;
  const int64_t length = view.length, inner = view.inner, pieces = (inner + kColumns - 1) / kColumns;
  if (inner < 4 || length * inner < 16) return {};  // calls cost more than they save
  const int64_t together = std::max<int64_t>(1, kElementTile / (length * inner));
  auto piece = [=](const float* x, int64_t count, float* y) {
    float largest[kColumns], sums[kColumns];
    fold_rows(BinaryOp::kMaximum, x, length, inner, count, largest);
    for (int64_t i = 0; i < count; i++)  // zeros, not NaN, where there is nothing but -inf
      if (!logarithm && largest[i] == -std::numeric_limits<float>::infinity()) largest[i] = 0;
    for (int64_t k = 0; k < length; k++) {
      combine(BinaryOp::kSub, x + k * inner, false, largest, false, count, y + k * inner);
      apply(UnaryOp::kExp, y + k * inner, count, 1, 1, y + k * inner);
    }
    fold_rows(BinaryOp::kAdd, y, length, inner, count, sums);
    if (logarithm) {
      apply(UnaryOp::kLog, sums, count, 1, 1, sums);
      for (int64_t k = 0; k < length; k++) {
        combine(BinaryOp::kSub, x + k * inner, false, largest, false, count, y + k * inner);
        combine(BinaryOp::kSub, y + k * inner, false, sums, false, count, y + k * inner);
      }
      return;
    }
    for (int64_t i = 0; i < count; i++) sums[i] = sums[i] == 0 ? 1 : sums[i];
    for (int64_t k = 0; k < length; k++) combine(BinaryOp::kDiv, y + k * inner, false, sums, false, count, y + k * inner);
  };
  CompiledStep step{.kernel = "columns", .run = [=, outer = view.outer](const StepCall& call) {
                      parallel_for((outer + together - 1) / together * pieces, [&](int64_t tile) {
                        const int64_t first = tile % pieces * kColumns;
                        for (int64_t o = tile / pieces * together, end = std::min(outer, o + together); o < end; o++) {
                          const int64_t at = o * length * inner + first;
                          piece(call.floats(0) + at, std::min(kColumns, inner - first), call.out_floats() + at);
                        }
                      });
                    }};
  if (!logarithm) step.in_place = {0};
  return step;
}

}  // namespace

CompiledStep compile_softmax(const OpContext& context) {
  const reference::AxisView view = softmax_view(context);
  const int64_t rows = view.outer, n = view.length;
  if (n == 0 || view.inner == 0) return {};
  if (view.inner > 1) return softmax_columns(view, false);
  return {.kernel = "rows", .run = [=](const StepCall& call) { kernels::softmax_rows(call.floats(0), rows, n, call.out_floats()); }, .in_place = {0}};
}

// Sums in double as they grow along a known axis, pieces of columns at a time.
CompiledStep compile_cum_sum(const OpContext& context) {
  const Shape x = context.shape(0);
  const auto axis = context.integers(1);
  if (!context.is_float(0) || x.empty() || !axis || axis->size() != 1 || element_count(x) == 0) return {};
  const int64_t rank = int64_t(x.size()), at_axis = (*axis)[0] < 0 ? (*axis)[0] + rank : (*axis)[0];
  if (at_axis < 0 || at_axis >= rank) return {};
  const bool exclusive = context.attributes().integer("exclusive", 0) != 0, reverse = context.attributes().integer("reverse", 0) != 0;
  const reference::AxisView view(x, at_axis);
  constexpr int64_t kColumns = 256;
  const int64_t length = view.length, inner = view.inner, pieces = (inner + kColumns - 1) / kColumns;
  if (inner < 16) return {};  // the reference's loop is as fast
  const int64_t together = std::max<int64_t>(1, kElementTile / (length * inner));
  auto piece = [=](const float* from, int64_t count, float* to) {
    double sums[kColumns];
    std::fill_n(sums, count, 0);
    for (int64_t k = 0; k < length; k++) {
      const int64_t row = (reverse ? length - 1 - k : k) * inner;
      for (int64_t i = 0; i < count; i++) {
        const double before = sums[i];
        sums[i] += double(from[row + i]);
        to[row + i] = float(exclusive ? before : sums[i]);
      }
    }
  };
  return {.kernel = "columns",
          .run =
              [=, outer = view.outer](const StepCall& call) {
                parallel_for((outer + together - 1) / together * pieces, [&](int64_t tile) {
                  const int64_t first = tile % pieces * kColumns;
                  for (int64_t o = tile / pieces * together, end = std::min(outer, o + together); o < end; o++) {
                    const int64_t at = o * length * inner + first;
                    piece(call.floats(0) + at, std::min(kColumns, inner - first), call.out_floats() + at);
                  }
                });
              },
          .unread = {1}};
}

// x - largest - ln(sum of e^(x - largest)).
CompiledStep compile_log_softmax(const OpContext& context) {
  const reference::AxisView view = softmax_view(context);
  const int64_t rows = view.outer, n = view.length;
  if (n == 0 || view.inner == 0) return {};
  if (view.inner > 1) return softmax_columns(view, true);
  if (n < 8 && rows > 1) return {};  // calls cost more than they save
  const int64_t rows_per_tile = std::max<int64_t>(1, kElementTile / n);
  return {.kernel = "rows",
          .run =
              [=](const StepCall& call) {
                parallel_for((rows + rows_per_tile - 1) / rows_per_tile, [&](int64_t tile) {
                  for (int64_t r = tile * rows_per_tile; r < std::min(rows, (tile + 1) * rows_per_tile); r++) {
                    const float* x = call.floats(0) + r * n;
                    float* y = call.out_floats() + r * n;
                    const float largest = fold_array(BinaryOp::kMaximum, x, n);
                    constexpr int64_t kPiece = 512;
                    float powers[kPiece];
                    double sum = 0;
                    for (int64_t i = 0; i < n; i += kPiece) {
                      const int64_t count = std::min(kPiece, n - i);
                      combine(BinaryOp::kSub, x + i, false, &largest, true, count, y + i);
                      apply(UnaryOp::kExp, y + i, count, 1, 1, powers);
                      sum += double(fold_array(BinaryOp::kAdd, powers, count));
                    }
                    const float logarithm = float(std::log(sum));
                    combine(BinaryOp::kSub, y, false, &logarithm, true, n, y);
                  }
                });
              },
          .in_place = {0}};
}

CompiledStep compile_activation(const OpContext& context) {
  auto activation = activation_of(context.graph(), context.node());
  if (!activation || !context.is_float(0)) return {};
  int64_t block = context.block(0), n = blocked_count(context.shape(0), block);
  FusedActivation f = *activation;
  return {.kernel = "vector",
          .run = [=](const StepCall& call) { kernels::activate_array(call.floats(0), n, f.activation, f.alpha, f.beta, call.out_floats()); },
          .in_place = {0},
          .unread = {1, 2},
          .input_blocks = {block},
          .output_block = block};
}

// A slope for each channel, or one for all; others are left to the reference.
CompiledStep compile_prelu(const OpContext& context) {
  const Shape x = context.shape(0), slope = context.shape(1);
  if (!context.is_float(0) || !context.is_float(1) || x.size() < 3 || slope.size() > x.size()) return {};
  const int64_t channels = x[1], pixels = element_count(std::span(x).subspan(2)), slopes = element_count(slope);
  const bool by_channel = slopes == channels && slope.size() + 1 >= x.size() && slope[slope.size() + 1 - x.size()] == channels;
  if (slopes != 1 && !by_channel) return {};
  return {.kernel = "planes",
          .run =
              [=, planes = x[0] * channels](const StepCall& call) {
                const int64_t at_once = std::max<int64_t>(1, kElementTile / std::max<int64_t>(pixels, 1));
                parallel_for((planes + at_once - 1) / at_once, [&](int64_t tile) {
                  for (int64_t p = tile * at_once; p < std::min(planes, (tile + 1) * at_once); p++) {
                    const float s = call.floats(1)[slopes == 1 ? 0 : p % channels];
                    apply(UnaryOp::kLeakyRelu, call.floats(0) + p * pixels, pixels, s, 1, call.out_floats() + p * pixels);
                  }
                });
              },
          .in_place = {0}};
}

namespace {

// Operands of which at least one is held in blocks of channels: both of one shape, or the second one vector over the channels.
CompiledStep compile_blocked_binary(const OpContext& context, BinaryOp op) {
  Shape a = context.shape(0), b = context.shape(1), out = context.out_shape();
  int64_t block = std::max(context.block(0), context.block(1)), channels = out.size() > 2 ? out[1] : 0;
  if (channels == 0 || (channels % block && op == BinaryOp::kDiv)) return {};  // lanes beyond the channels must not become NaN
  if (a == b) {
    int64_t n = blocked_count(out, block), pieces = (n + kElementTile - 1) / kElementTile;
    return {.kernel = "vector",
            .run =
                [=](const StepCall& call) {
                  parallel_for(pieces, [&](int64_t tile) {
                    int64_t first = tile * kElementTile, count = std::min(kElementTile, n - first);
                    combine(op, call.floats(0) + first, false, call.floats(1) + first, false, count, call.out_floats() + first);
                  });
                },
            .in_place = {0, 1},
            .input_blocks = {block, block},
            .output_block = block};
  }
  bool commutes = op != BinaryOp::kSub && op != BinaryOp::kDiv;
  size_t whole = a == out ? 0 : 1;
  const Shape& vector = whole == 0 ? b : a;
  bool per_image = vector.size() == out.size() && vector[0] == out[0];
  if ((whole == 1 && !commutes) || context.block(whole) != block || channels % block || int64_t(vector.size()) < int64_t(out.size()) - 1) return {};
  // [n, c, 1, 1], [1, c, 1, 1] or [c, 1, 1]: whole blocks of channels are the same plain.
  if (element_count(vector) != (per_image ? out[0] : 1) * channels || vector[vector.size() - out.size() + 1] != channels) return {};
  int64_t blocks = channels / block, pixels = element_count(std::span(out).subspan(2)), planes = out[0] * blocks;
  return {.kernel = "channels",
          .run =
              [=](const StepCall& call) {
                parallel_for(planes, [&](int64_t p) {
                  combine_lanes(op, call.floats(whole) + p * pixels * block, call.floats(1 - whole) + (per_image ? p : p % blocks) * block, pixels,
                                block, call.out_floats() + p * pixels * block);
                });
              },
          .in_place = {whole},
          .input_blocks = whole == 0 ? std::vector<int64_t>{block, 0} : std::vector<int64_t>{0, block},
          .output_block = block};
}

}  // namespace

CompiledStep compile_binary(const OpContext& context) {
  if (context.node().inputs.size() != 2 || !context.is_float(0) || !context.is_float(1)) return {};
  const Op of = context.node().op;
  BinaryOp op = of == Op::add       ? BinaryOp::kAdd
                : of == Op::sub     ? BinaryOp::kSub
                : of == Op::mul     ? BinaryOp::kMul
                : of == Op::minimum ? BinaryOp::kMinimum
                : of == Op::maximum ? BinaryOp::kMaximum
                                    : BinaryOp::kDiv;
  if (context.block(0) || context.block(1))
    if (CompiledStep step = compile_blocked_binary(context, op); step.run) return step;
  Shape a = context.shape(0), b = context.shape(1), out = context.out_shape();
  auto plan = broadcast_rows<2>({a, b}, out);
  if (!plan) return {};
  CompiledStep step{.kernel = "vector", .run = [op, plan = *plan, result = context.plan().sum](const StepCall& call) {
                      auto piece = [&](auto& at, int64_t to, int64_t count) {
                        combine(op, call.floats(0) + at[0], plan.scalar[0], call.floats(1) + at[1], plan.scalar[1], count, call.out_floats() + to);
                      };
                      for_pieces(plan, piece, [&](int64_t first, int64_t count) {
                        if (result) round_values(result.of_values(), call.out_floats() + first, count);
                      });
                    }};
  if (a == out) step.in_place.push_back(0);
  if (b == out) step.in_place.push_back(1);
  step.rounds = true;
  return step;
}

// To a constant power: squares and cubes are products, others numbers one by one.
CompiledStep compile_pow(const OpContext& context) {
  const Tensor* constant = context.constant(1);
  if (!context.is_float(0) || !constant || constant->size() != 1 || context.shape(0) != context.out_shape()) return {};
  double exponent = double(constant->to(DType::kF32).data<float>()[0]);
  int64_t n = element_count(context.shape(0));
  bool product = exponent == 2 || exponent == 3;
  return {.kernel = product ? "vector" : "numbers",
          .run =
              [=](const StepCall& call) {
                parallel_for((n + kElementTile - 1) / kElementTile, [&](int64_t tile) {
                  int64_t first = tile * kElementTile, last = std::min(n, first + kElementTile);
                  const float* x = call.floats(0);
                  float* y = call.out_floats();
                  // In pieces, as a cube needs the number and its square, and y may be x.
                  constexpr int64_t kPiece = 512;
                  for (int64_t i = first; product && i < last; i += kPiece) {
                    int64_t count = std::min(kPiece, last - i);
                    float square[kPiece];
                    combine(BinaryOp::kMul, x + i, false, x + i, false, count, exponent == 2 ? y + i : square);
                    if (exponent == 3) combine(BinaryOp::kMul, x + i, false, square, false, count, y + i);
                  }
                  if (product) return;
                  for (int64_t i = first; i < last; i++) y[i] = float(std::pow(double(x[i]), exponent));
                });
              },
          .in_place = {0},
          .unread = {1}};
}

}  // namespace lacuna
