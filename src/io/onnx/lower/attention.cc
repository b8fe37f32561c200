// Attention, rotary embeddings, positions and pooling over tokens, written out over matrices.
#include <cmath>

#include "base/cat.h"
#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx::lower {
namespace {

constexpr double kHidden = -3.0e38;  // in place of minus infinity, so that a row without any key gives no NaN

std::string size_along(Lowering& l, const std::string& x, int64_t axis) {
  return l.add("Squeeze", {l.add("Shape", {x}, {{"start", axis}, {"end", axis + 1}})});
}

// [b, t, heads * d] -> [b, heads, t, d]
std::string split_heads(Lowering& l, const std::string& x, int64_t heads) { return l.transpose(l.reshape(x, {0, 0, heads, -1}), {0, 2, 1, 3}); }

// [b, kv_heads, s, d] -> [b, kv_heads * group, s, d], every head `group` times in a row
std::string repeat_heads(Lowering& l, const std::string& x, int64_t kv_heads, int64_t group) {
  if (group == 1) return x;
  std::string parted = l.add("Unsqueeze", {x, l.constant({2})});
  std::string repeated = l.add("Concat", std::vector<std::string>(size_t(group), parted), {{"axis", int64_t(2)}});
  std::string length = l.add("Shape", {x}, {{"start", int64_t(2)}, {"end", int64_t(4)}});
  return l.add("Reshape", {repeated, l.add("Concat", {l.constant({0, kv_heads * group}), length}, {{"axis", int64_t(0)}})});
}

// True where query i may see key j: j <= past + i, j > past + i - window; [t, s].
std::string visible(Lowering& l, const std::string& q, const std::string& k, bool causal, int64_t window) {
  std::string zero = l.scalar(0, DType::kS64), one = l.scalar(1, DType::kS64);
  std::string tokens = size_along(l, q, 1), keys = size_along(l, k, 1);
  std::string rows = l.add("Add", {l.add("Range", {zero, tokens, one}), l.add("Sub", {keys, tokens})});
  rows = l.add("Unsqueeze", {rows, l.constant({1})});
  std::string columns = l.add("Unsqueeze", {l.add("Range", {zero, keys, one}), l.constant({0})});
  std::string result;
  if (causal) result = l.add("LessOrEqual", {columns, rows});
  if (window > 0) {
    std::string near = l.add("Greater", {columns, l.add("Sub", {rows, l.scalar(double(window), DType::kS64)})});
    result = result.empty() ? near : l.add("And", {result, near});
  }
  return result;
}

void attention(Lowering& l) {
  if (l.has(4)) l.unsupported("a key-value cache has no ONNX form");
  const Attributes& a = l.attributes();
  int64_t heads = a.integer("heads", 1), kv_heads = a.integer("kv_heads", heads), head_dim = a.integer("head_dim", 1),
          window = a.integer("window", 0);
  double softcap = a.number("softcap", 0);
  DType type = l.dtype(0);
  std::string q = split_heads(l, l.input(0), heads), k = repeat_heads(l, split_heads(l, l.input(1), kv_heads), kv_heads, heads / kv_heads);
  std::string v = repeat_heads(l, split_heads(l, l.input(2), kv_heads), kv_heads, heads / kv_heads);
  std::string scores = l.add("MatMul", {q, l.transpose(k, {0, 1, 3, 2})});
  scores = l.add("Mul", {scores, l.scalar(a.number("scale", 1 / std::sqrt(double(head_dim))), type)});
  if (softcap > 0) {
    std::string cap = l.scalar(softcap, type);
    scores = l.add("Mul", {l.add("Tanh", {l.add("Div", {scores, cap})}), cap});
  }
  std::string hidden = l.scalar(type == DType::kF16 ? -65504 : kHidden, type);
  if (l.has(3)) {
    bool pairs = l.required_rank(3) == 2;
    if (pairs || l.dtype(3) == DType::kBool) {
      std::string keep = l.cast(l.input(3), l.dtype(3), DType::kBool);
      if (pairs) keep = l.add("Unsqueeze", {keep, l.constant({1, 2})});
      scores = l.add("Where", {keep, scores, hidden});
    } else {
      scores = l.add("Add", {scores, l.cast(l.input(3), l.dtype(3), type)});
    }
  }
  std::string seen = visible(l, l.input(0), l.input(1), a.integer("causal", 0) != 0, window);
  if (!seen.empty()) scores = l.add("Where", {seen, scores, hidden});
  std::string mixed = l.add("MatMul", {l.add("Softmax", {scores}, {{"axis", int64_t(-1)}}), v});
  l.finish("Reshape", {l.transpose(mixed, {0, 2, 1, 3}), l.constant({0, 0, -1})});
}

// x cos + rotated(x) sin over [b, t, heads, d]; the angles are position * inv_freq.
void rope(Lowering& l) {
  const Attributes& a = l.attributes();
  int64_t heads = a.integer("heads", 1), head_dim = a.integer("head_dim", 1), rotary = a.integer("rotary_dim", head_dim);
  bool interleaved = a.integer("interleaved", 0) != 0;
  auto frequencies = a.numbers("inv_freq");
  if (frequencies.empty())
    for (int64_t d = 0; d < rotary / 2; d++) frequencies.push_back(std::pow(a.number("theta", 10000), -2.0 * double(d) / double(rotary)));
  DType type = l.dtype(0);
  Tensor inv_freq = Tensor::of<double>({rotary / 2}, frequencies).to(DType::kF32);
  std::string positions = l.add("Unsqueeze", {l.cast(l.input(1), l.dtype(1), DType::kF32), l.constant({2, 3})});
  std::string angles = l.add("Mul", {positions, l.constant(inv_freq)});  // [b, t, 1, rotary / 2]
  std::string factor = l.scalar(a.number("attention_factor", 1), DType::kF32);
  std::string cos = l.cast(l.add("Mul", {l.add("Cos", {angles}), factor}), DType::kF32, type);
  std::string sin = l.cast(l.add("Mul", {l.add("Sin", {angles}), factor}), DType::kF32, type);
  std::string x = l.reshape(l.input(0), {0, 0, heads, head_dim});
  auto part = [&](int64_t begin, int64_t end, int64_t step) {
    return l.add("Slice", {x, l.constant({begin}), l.constant({end}), l.constant({3}), l.constant({step})});
  };
  std::string first = interleaved ? part(0, rotary, 2) : part(0, rotary / 2, 1),
              second = interleaved ? part(1, rotary, 2) : part(rotary / 2, rotary, 1);
  std::string turned_first = l.add("Sub", {l.add("Mul", {first, cos}), l.add("Mul", {second, sin})});
  std::string turned_second = l.add("Add", {l.add("Mul", {second, cos}), l.add("Mul", {first, sin})});
  std::vector<std::string> parts = {turned_first, turned_second};
  if (interleaved) {
    for (auto& p : parts) p = l.add("Unsqueeze", {p, l.constant({4})});
    parts = {l.reshape(l.add("Concat", parts, {{"axis", int64_t(4)}}), {0, 0, heads, rotary})};
  }
  if (rotary < head_dim) parts.push_back(part(rotary, head_dim, 1));
  std::string joined = parts.size() == 1 ? parts[0] : l.add("Concat", parts, {{"axis", int64_t(3)}});
  l.finish("Reshape", {joined, l.constant({0, 0, heads * head_dim})});
}

// offset + 0..t-1 [b, t]; with padding_id or a mask only tokens that count advance the position.
void positions(Lowering& l) {
  std::string ids = l.input(0), offset = l.scalar(double(l.attributes().integer("offset", 0)), DType::kS64);
  std::string counts;
  if (l.attributes().has("padding_id")) {
    std::string padding = l.scalar(double(l.attributes().integer("padding_id", 0)), l.dtype(0));
    counts = l.cast(l.add("Not", {l.add("Equal", {ids, padding})}), DType::kBool, DType::kS64);
  } else if (l.has(1)) {
    counts = l.cast(l.input(1), l.dtype(1), DType::kS64);
  } else {
    std::string range = l.add("Range", {l.scalar(0, DType::kS64), size_along(l, ids, 1), l.scalar(1, DType::kS64)});
    return l.finish("Add", {l.add("Expand", {range, l.add("Shape", {ids})}), offset});
  }
  std::string running = l.add("CumSum", {counts, l.scalar(1, DType::kS64)});
  if (l.attributes().has("padding_id")) return l.finish("Add", {l.add("Mul", {running, counts}), offset});
  l.finish("Add", {l.add("Sub", {running, l.scalar(1, DType::kS64)}), offset});
}

// hidden [b, t, d] -> [b, d]
void token_pool(Lowering& l) {
  std::string mode = l.attributes().text("mode", "mean"), hidden = l.input(0);
  DType type = l.dtype(0);
  auto reduce = [&](const char* op, const std::string& x) {
    bool axes_attribute = std::string(op) != "ReduceSum" && l.opset() < 18;
    std::map<std::string, AttributeValue> keep = {{"keepdims", int64_t(0)}};
    if (!axes_attribute) return l.add(op, {x, l.constant({1})}, keep);
    keep["axes"] = std::vector<int64_t>{1};
    return l.add(op, {x}, keep);
  };
  if (mode == "cls") return l.finish("Gather", {hidden, l.scalar(0, DType::kS64)}, {{"axis", int64_t(1)}});
  std::string mask = l.has(1) ? l.add("Unsqueeze", {l.cast(l.input(1), l.dtype(1), type), l.constant({2})}) : "";
  if (mode == "mean") {
    if (mask.empty()) return l.finish("Identity", {reduce("ReduceMean", hidden)});
    std::string count = l.add("Max", {reduce("ReduceSum", mask), l.scalar(1e-9, type)});
    return l.finish("Div", {reduce("ReduceSum", l.add("Mul", {hidden, mask})), count});
  }
  if (mode == "max") {
    if (!mask.empty()) hidden = l.add("Where", {l.cast(mask, type, DType::kBool), hidden, l.scalar(kHidden, type)});
    return l.finish("Identity", {reduce("ReduceMax", hidden)});
  }
  // The last token that counts: the first largest running sum of the mask.
  std::string last = l.add("Sub", {size_along(l, hidden, 1), l.scalar(1, DType::kS64)});
  if (mask.empty()) return l.finish("Gather", {hidden, last}, {{"axis", int64_t(1)}});
  std::string running = l.add("CumSum", {l.cast(l.input(1), l.dtype(1), DType::kS32), l.scalar(1, DType::kS64)});
  std::string index = l.add("ArgMax", {running}, {{"axis", int64_t(1)}});
  l.finish("GatherND", {hidden, index}, {{"batch_dims", int64_t(1)}});
}

const Entry kEntries[] = {{Op::attention, attention}, {Op::rope, rope}, {Op::positions, positions}, {Op::token_pool, token_pool}};

}  // namespace

std::span<const Entry> attention() { return kEntries; }

}  // namespace lacuna::onnx::lower
