// Comparisons, logic, choices and conversions of elements.
#include <cstring>

#include "runtime/ops/broadcast.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/vector_ops.h"

namespace lacuna {
namespace {

// What the loops over elements know of a type as it is held while running.
std::optional<Element> element_of(DType type) {
  switch (storage_type(type)) {
    case DType::kF32: return Element::kF32;
    case DType::kS64: return Element::kS64;
    case DType::kS32: return Element::kS32;
    case DType::kU8: return Element::kU8;
    case DType::kBool: return Element::kBool;
    default: return std::nullopt;
  }
}

// Rows so short that a call for each costs more than the reference's loop.
template <size_t N>
bool too_short(const BroadcastRows<N>& plan) {
  return plan.rows.size() > 1 && plan.inner > 0 && plan.inner < 8;
}

// f(first, count) for tiles of n elements.
template <class F>
void for_tiles(int64_t n, F&& f) {
  parallel_for((n + kElementTile - 1) / kElementTile, [&](int64_t tile) { f(tile * kElementTile, std::min(kElementTile, n - tile * kElementTile)); });
}

}  // namespace

CompiledStep compile_comparison(const OpContext& context) {
  const Op of = context.node().op;
  const std::optional<Element> type = element_of(context.type(0));
  if (!type || type != element_of(context.type(1))) return {};
  const bool logical = of == Op::logical_and || of == Op::logical_or || of == Op::logical_xor;
  if (logical && type != Element::kBool) return {};
  const bool swapped = of == Op::greater || of == Op::greater_equal;  // b < a is a > b, also of NaN
  const CompareOp op = of == Op::equal                                   ? CompareOp::kEqual
                       : of == Op::less || of == Op::greater             ? CompareOp::kLess
                       : of == Op::less_equal || of == Op::greater_equal ? CompareOp::kLessEqual
                       : of == Op::logical_and                           ? CompareOp::kAnd
                       : of == Op::logical_or                            ? CompareOp::kOr
                                                                         : CompareOp::kXor;
  const size_t a = swapped ? 1 : 0, b = 1 - a;
  auto plan = broadcast_rows<2>({context.shape(a), context.shape(b)}, context.out_shape());
  if (!plan || too_short(*plan)) return {};
  return {.kernel = "vector", .run = [=, plan = *plan, type = *type, width = bits_of(storage_type(context.type(0))) / 8](const StepCall& call) {
            const std::byte *x = call.in(a).raw(), *z = call.in(b).raw();
            uint8_t* y = reinterpret_cast<uint8_t*>(call.out(0).mutable_raw());
            auto piece = [&](auto& at, int64_t to, int64_t count) {
              compare(op, type, x + at[0] * width, plan.scalar[0], z + at[1] * width, plan.scalar[1], count, y + to);
            };
            for_pieces(plan, piece, [](int64_t, int64_t) {});
          }};
}

CompiledStep compile_not(const OpContext& context) {
  if (context.type(0) != DType::kBool) return {};
  return {.kernel = "vector", .run = [n = element_count(context.shape(0))](const StepCall& call) {
            const uint8_t no = 0, *x = reinterpret_cast<const uint8_t*>(call.in(0).raw());
            uint8_t* y = reinterpret_cast<uint8_t*>(call.out(0).mutable_raw());
            for_tiles(
                n, [&](int64_t first, int64_t count) { compare(CompareOp::kEqual, Element::kBool, x + first, false, &no, true, count, y + first); });
          }};
}

CompiledStep compile_where(const OpContext& context) {
  const int64_t width = bits_of(storage_type(context.type(1))) / 8;
  if (context.type(0) != DType::kBool || storage_type(context.type(1)) != storage_type(context.type(2)) || (width != 1 && width != 4 && width != 8))
    return {};
  const Shape out = context.out_shape();
  auto plan = broadcast_rows<3>({context.shape(0), context.shape(1), context.shape(2)}, out);
  if (!plan || too_short(*plan)) return {};
  CompiledStep step{.kernel = "vector", .run = [plan = *plan, width](const StepCall& call) {
                      const uint8_t* condition = reinterpret_cast<const uint8_t*>(call.in(0).raw());
                      const std::byte *a = call.in(1).raw(), *b = call.in(2).raw();
                      std::byte* y = call.out(0).mutable_raw();
                      auto piece = [&](auto& at, int64_t to, int64_t count) {
                        choose(width, condition + at[0], plan.scalar[0], a + at[1] * width, plan.scalar[1], b + at[2] * width, plan.scalar[2], count,
                               y + to * width);
                      };
                      for_pieces(plan, piece, [](int64_t, int64_t) {});
                    }};
  for (size_t i : {1, 2})
    if (context.shape(i) == out) step.in_place.push_back(i);
  return step;
}

CompiledStep compile_cast(const OpContext& context) {
  const auto target = dtype_from_name(context.attributes().text("to", "f32"));
  if (!target || *target == DType::kF16 || *target == DType::kBF16) return {};  // rounded by the reference
  const auto from = element_of(context.type(0)), to = element_of(*target);
  if (!from || !to) return {};
  const int64_t n = element_count(context.shape(0)), in_width = bits_of(storage_type(context.type(0))) / 8,
                out_width = bits_of(storage_type(*target)) / 8;
  return {.kernel = "vector", .run = [=, from = *from, to = *to](const StepCall& call) {
            const std::byte* x = call.in(0).raw();
            std::byte* y = call.out(0).mutable_raw();
            for_tiles(n, [&](int64_t first, int64_t count) { convert(from, x + first * in_width, to, count, y + first * out_width); });
          }};
}

}  // namespace lacuna
