#include "graph/ops/rules.h"

#include <algorithm>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna::ops {

void same_as_input(InferContext& context) {
  const Fact& x = context.input(0);
  context.set(0, x.dtype, x.shape);
}

DType promote(DType a, DType b) {
  if (a == b || !is_float(b)) return a;
  if (!is_float(a)) return b;
  if (a == DType::kF64 || b == DType::kF64) return DType::kF64;
  return DType::kF32;
}

void expect_rank(const InferContext& context, size_t input, size_t rank, bool at_least) {
  const SymShape* shape = context.shape(input);
  if (!shape || shape->size() == rank || (at_least && shape->size() > rank)) return;
  context.fail(cat("input ", input, " has shape ", to_string(*shape), ", wanted ", at_least ? "at least " : "", rank, " dimensions"));
}

void expect_equal(const InferContext& context, const Dim& a, const Dim& b, std::string_view what) {
  if (is_equal(a, b) == false) context.fail(cat(what, " differ: ", a.to_string(), " and ", b.to_string()));
}

std::optional<std::vector<int64_t>> axes_of(const InferContext& context, size_t input, int64_t rank, bool& given) {
  std::optional<std::vector<int64_t>> axes;
  given = context.has_input(input) || context.attributes().has("axes");
  if (context.has_input(input))
    axes = context.constants(input);
  else
    axes = context.attributes().integers("axes");
  if (!axes) return std::nullopt;
  std::set<int64_t> seen;
  for (int64_t& axis : *axes) {
    axis = normalise_axis(axis, rank, context);
    if (!seen.insert(axis).second) context.fail(cat("axis ", axis, " is named twice"));
  }
  return axes;
}

Blocks blocks_of(std::span<const int64_t> shape, int64_t axis) {
  return {element_count(shape.subspan(0, size_t(axis))), shape[size_t(axis)], element_count(shape.subspan(size_t(axis) + 1))};
}

void combine_elements(InferContext& context, const Combine& combine) {
  const Fact& out = context.output(0);
  auto shape = out.shape ? constant_shape(*out.shape) : std::nullopt;
  if (!shape) return;
  size_t inputs = context.input_count();
  std::vector<const std::vector<Dim>*> elements(inputs);
  std::vector<std::vector<int64_t>> strides(inputs);  // per output axis; 0 where broadcast
  for (size_t i = 0; i < inputs; i++) {
    if (!(elements[i] = context.elements(i))) return;
    strides[i].resize(shape->size());
    const SymShape& in = *context.shape(i);
    int64_t step = 1;
    for (size_t k = 0; k < in.size(); k++) {
      int64_t d = in[in.size() - 1 - k].value();
      if (d != 1) strides[i][shape->size() - 1 - k] = step;
      step *= d;
    }
  }
  int64_t count = element_count(*shape);
  if (count > kMaxElements) return;
  std::vector<Dim> result;
  std::vector<const Dim*> operands(inputs);
  for (int64_t at = 0; at < count; at++) {
    for (size_t i = 0; i < inputs; i++) {
      int64_t rest = at, offset = 0;
      for (size_t k = shape->size(); k-- > 0; rest /= (*shape)[k]) offset += rest % (*shape)[k] * strides[i][k];
      operands[i] = &(*elements[i])[size_t(offset)];
    }
    try {
      auto value = combine(operands);
      if (!value) return;
      // Of floats, a zero out of something negative may be minus zero.
      bool signed_zero = is_float(out.dtype) && *value == Dim(0) &&
                         std::any_of(operands.begin(), operands.end(), [](const Dim* d) { return is_less(*d, Dim(0)) != false; });
      if (signed_zero) return;
      result.push_back(std::move(*value));
    } catch (const InvalidData&) {
      return;  // beyond 64 bits, or too long an expression: not known
    }
  }
  context.set_elements(0, std::move(result));
}

std::optional<bool> is_equal(const Dim& a, const Dim& b) {
  if (a == b) return true;
  if (a.is_constant() && b.is_constant()) return false;
  try {
    Dim difference = a - b;
    if (auto low = difference.lower_bound(); low && *low > 0) return false;
    if (auto high = difference.upper_bound(); high && *high < 0) return false;
  } catch (const InvalidData&) {
  }
  return std::nullopt;
}

std::optional<bool> is_less(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return a.value() < b.value();
  try {
    Dim difference = b - a;
    if (auto low = difference.lower_bound(); low && *low > 0) return true;
    if (auto high = difference.upper_bound(); high && *high <= 0) return false;
  } catch (const InvalidData&) {
  }
  return std::nullopt;
}

Windows windows_of(const InferContext& context, size_t spatial) {
  auto read = [&](const char* name, size_t count, int64_t fallback, int64_t least) {
    auto values = context.attributes().integers(name, std::vector<int64_t>(count, fallback));
    if (values.size() != count) context.fail(cat("attribute '", name, "' has ", values.size(), " entries, wanted ", count));
    for (int64_t v : values)
      if (v < least || v > INT32_MAX) context.fail(cat("attribute '", name, "' holds ", v, ", wanted at least ", least));
    return values;
  };
  Windows w;
  w.strides = read("strides", spatial, 1, 1);
  w.dilations = read("dilations", spatial, 1, 1);
  w.pads = read("pads", 2 * spatial, 0, 0);
  w.auto_pad = context.attributes().text("auto_pad", "NOTSET");
  if (w.auto_pad != "NOTSET" && w.auto_pad != "VALID" && w.auto_pad != "SAME_UPPER" && w.auto_pad != "SAME_LOWER")
    context.fail(cat("attribute 'auto_pad' is '", w.auto_pad, "', known are NOTSET, VALID, SAME_UPPER, SAME_LOWER"));
  w.ceil_mode = context.attributes().integer("ceil_mode", 0) != 0;
  return w;
}

Dim windows_along(const InferContext& context, const Windows& w, size_t axis, const Dim& size, const Dim& kernel) {
  Dim stride(w.strides[axis]);
  if (w.auto_pad.starts_with("SAME")) return ceil_div(size, stride);
  bool padded = w.auto_pad == "NOTSET";
  Dim before = padded ? w.pads[axis] : 0, after = padded ? w.pads[w.strides.size() + axis] : 0;
  Dim room = size + before + after - Dim(w.dilations[axis]) * (kernel - Dim(1)) - Dim(1);
  if (auto high = room.upper_bound(); high && *high < 0)
    context.fail(cat("a window of ", kernel.to_string(), " with dilation ", w.dilations[axis], " does not fit a size of ", size.to_string(),
                     " padded by ", before.to_string(), " and ", after.to_string()));
  // Rounding up adds a last partial window unless it would start in the padding at the end.
  if (w.ceil_mode) return min(ceil_div(room, stride) + Dim(1), ceil_div(size + before, stride));
  return floor_div(room, stride) + Dim(1);
}

}  // namespace lacuna::ops
