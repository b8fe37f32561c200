// Attention over plain inputs or a cache, and rotary embeddings.
#include <cmath>
#include <cstring>
#include <limits>

#include "base/cat.h"
#include "base/parallel.h"
#include "kernels/transformer.h"
#include "lacuna/error.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/rope_tables.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// New tokens [b, t, heads * d] into the cache [b, heads, capacity, d] from token `past` on.
void append(const float* fresh, int64_t batch, int64_t tokens, Tensor& cache, int64_t past) {
  int64_t heads = cache.dim(1), capacity = cache.dim(2), width = cache.dim(3);
  LACUNA_ASSERT(past + tokens <= capacity && cache.dim(0) == batch);
  float* to = cache.mutable_data<float>().data();
  for (int64_t b = 0; b < batch; b++)
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t h = 0; h < heads; h++)
        std::memcpy(to + ((b * heads + h) * capacity + past + t) * width, fresh + ((b * tokens + t) * heads + h) * width,
                    size_t(width) * sizeof(float));
}

// Where mask element (b, h, i, j) is.
struct MaskLayout {
  bool present = false, keeps = false;  // keeps: nonzero is visible; else added to the scores
  Shape shape;                          // 4 dimensions
  kernels::Strides strides;
};

MaskLayout mask_layout(const OpContext& context) {
  MaskLayout layout;
  if (!context.has(3)) return layout;
  Shape shape = context.shape(3);
  layout.present = true;
  layout.keeps = shape.size() == 2 || context.type(3) == DType::kBool;
  if (shape.size() == 2) shape = {shape[0], 1, 1, shape[1]};
  while (shape.size() < 4) shape.insert(shape.begin(), 1);
  auto strides = reference::strides_of(shape);
  for (size_t i = 0; i < 4; i++)
    if (shape[i] == 1) strides[i] = 0;
  layout.shape = shape;
  layout.strides = {strides[0], strides[1], strides[2]};
  return layout;
}

// 0 where the mask keeps, `hidden` where it does not; or the other way round, if it `hides`.
const float* additive(const MaskLayout& layout, const Tensor& mask, std::vector<float>& scratch,
                      float hidden = -std::numeric_limits<float>::infinity(), bool hides = false) {
  if (!layout.keeps) return mask.data<float>().data();
  scratch.resize(size_t(mask.size()));
  with_type(mask.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < mask.size(); i++) scratch[size_t(i)] = (reference::elements<T>(mask)[i] != T(0)) != hides ? 0 : hidden;
  });
  return scratch.data();
}

}  // namespace

std::optional<kernels::CodedAttentionProblem> coded_attention_problem(const OpContext& context) {
  const CodedAttention& a = *context.plan().attention;
  auto operand = [&](size_t input, const CodedAttention::Operand& o, Shape& turned) {
    Shape shape = context.shape(input);
    auto strides = reference::strides_of(shape);
    auto stride = [&](size_t i) { return strides[size_t(o.perm[i])]; };
    turned.clear();
    for (int64_t axis : o.perm) turned.push_back(shape[size_t(axis)]);
    return kernels::CodedAttentionProblem::Operand{o.rounding.of_values(), o.factor, {stride(0), stride(1), stride(2)}};
  };
  kernels::CodedAttentionProblem p{.scale = a.scale,
                                   .weights = a.weights.of_values(),
                                   .product = a.product.of_values(),
                                   .scaled = a.scaled.of_values(),
                                   .masked = a.masked.of_values(),
                                   .result = a.result.of_values()};
  Shape q, k, v;
  p.q = operand(0, a.q, q), p.k = operand(1, a.k, k), p.v = operand(2, a.v, v);
  p.keys_contiguous = a.k.perm[3] != 3;
  if (p.keys_contiguous) p.k.strides.row = reference::strides_of(context.shape(1))[size_t(a.k.perm[3])];
  p.batch = q[0], p.heads = q[1], p.queries = q[2], p.dim = q[3], p.keys = k[2], p.value_dim = v[3];
  bool fit = k == Shape{p.batch, p.heads, p.keys, p.dim} && v == Shape{p.batch, p.heads, p.keys, p.value_dim};
  return fit && kernels::takes_codes(p) ? std::optional(p) : std::nullopt;
}

namespace {

CompiledStep compile_coded_attention(const OpContext& context) {
  auto problem = coded_attention_problem(context);
  LACUNA_ASSERT(problem);
  MaskLayout mask = mask_layout(context);
  int64_t row = problem->value_dim, of_item = problem->heads * problem->queries * row;
  kernels::Strides out = context.plan().attention->tokens_first ? kernels::Strides{of_item, row, problem->heads * row}
                                                                : kernels::Strides{of_item, problem->queries * row, row};
  // Any finite score hides a key beside others, and none where all are hidden: such rows get equal weights.
  bool hides = context.plan().attention->hides;
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  float hidden = context.plan().attention->fill < kLowest ? -std::numeric_limits<float>::infinity() : kLowest;
  return {.kernel = "codes", .run = [=, p = *problem](const StepCall& call) {
            std::vector<float> scratch;
            const float* added = mask.present ? additive(mask, call.in(3), scratch, hidden, hides) : nullptr;
            kernels::coded_attention(p, call.floats(0), call.floats(1), call.floats(2), added, mask.strides, call.out_floats(), out);
          }};
}

}  // namespace

CompiledStep compile_attention(const OpContext& context) {
  if (context.plan().attention) return compile_coded_attention(context);
  const Attributes& a = context.attributes();
  Shape q = context.shape(0), k = context.shape(1), v = context.shape(2);
  int64_t heads = a.integer("heads", 1), kv_heads = a.integer("kv_heads", heads), batch = q[0], tokens = q[1];
  bool cached = context.has(4);
  kernels::AttentionProblem problem{.batch = batch,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .queries = tokens,
                                    .keys = k[1],
                                    .dim = a.integer("head_dim", q[2] / heads),
                                    .value_dim = v[2] / kv_heads,
                                    .softcap = float(a.number("softcap", 0)),
                                    .causal = a.integer("causal", 0) != 0,
                                    .window = a.integer("window", 0)};
  problem.scale = float(a.number("scale", 1 / std::sqrt(double(problem.dim))));
  problem.first_position = k[1] - tokens;
  problem.coarse = context.coarse();
  MaskLayout mask = mask_layout(context);
  if (mask.present && (mask.shape[3] == 1 || (!mask.keeps && !context.is_float(3)))) return {};
  if (mask.present && (mask.shape[0] > batch || mask.shape[1] > heads || mask.shape[2] > tokens)) return {};
  std::string name = context.node().name;
  return {.kernel = "tiled", .run = [=](const StepCall& call) {
            kernels::AttentionProblem p = problem;
            const float *keys = call.floats(1), *values = call.floats(2);
            kernels::Strides k_strides{p.keys * kv_heads * p.dim, p.dim, kv_heads * p.dim},
                v_strides{p.keys * kv_heads * p.value_dim, p.value_dim, kv_heads * p.value_dim};
            if (cached) {
              Tensor &k_cache = *call.inputs[4], &v_cache = *call.inputs[5];
              append(keys, batch, tokens, k_cache, call.past);
              append(values, batch, tokens, v_cache, call.past);
              p.first_position = call.past, p.keys = call.past + tokens;
              int64_t capacity = k_cache.dim(2);
              keys = call.floats(4), values = call.floats(5);
              k_strides = {kv_heads * capacity * p.dim, capacity * p.dim, p.dim};
              v_strides = {kv_heads * capacity * p.value_dim, capacity * p.value_dim, p.value_dim};
            }
            if (mask.present && mask.shape[3] != p.keys)
              throw InvalidData(cat("node '", name, "' (attention): the mask covers ", mask.shape[3], " keys, there are ", p.keys));
            std::vector<float> scratch;
            const float* added = mask.present ? additive(mask, call.in(3), scratch) : nullptr;
            kernels::attention(p, call.floats(0), {tokens * heads * p.dim, p.dim, heads * p.dim}, keys, k_strides, values, v_strides, added,
                               mask.strides, call.out_floats(), {tokens * heads * p.value_dim, p.value_dim, heads * p.value_dim});
          }};
}

const RopeTable& RopeTables::table(const Tensor& positions, int64_t tokens, int64_t run) {
  if (table_.run == run) return table_;
  table_.run = run;
  int64_t half = int64_t(frequencies_.size());
  size_t each = interleaved_ ? 2 : 1;
  table_.cosine.resize(size_t(tokens * half) * each), table_.sine.resize(size_t(tokens * half) * each);
  auto position = reference::integers_of(positions);
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t d = 0; d < half; d++) {
      float angle = float(position[size_t(t) % position.size()]) * frequencies_[size_t(d)];
      float cosine = std::cos(angle) * factor_, sine = std::sin(angle) * factor_;
      size_t at = size_t(t * half + d) * each;
      table_.cosine[at] = cosine, table_.sine[at] = interleaved_ ? -sine : sine;
      if (interleaved_) table_.cosine[at + 1] = cosine, table_.sine[at + 1] = sine;
    }
  return table_;
}

CompiledStep compile_rope(const OpContext& context) {
  const Attributes& a = context.attributes();
  Shape x = context.shape(0);
  int64_t heads = a.integer("heads", 1), head_dim = a.integer("head_dim", x[2] / heads), rotary = a.integer("rotary_dim", head_dim),
          tokens = x[0] * x[1];
  auto inv_freq = a.numbers("inv_freq");
  double theta = a.number("theta", 10000), factor = a.number("attention_factor", 1);
  bool interleaved = a.integer("interleaved", 0) != 0;
  if (context.is_float(1)) return {};
  if (inv_freq.empty())
    for (int64_t d = 0; d < rotary / 2; d++) inv_freq.push_back(std::pow(theta, -2.0 * double(d) / double(rotary)));
  if (int64_t(inv_freq.size()) != rotary / 2) return {};
  auto tables = context.rope_tables(context.node().inputs[1], inv_freq, factor, interleaved);
  auto rotate = interleaved ? kernels::rope_pairs : kernels::rope_half;
  return {.kernel = interleaved ? "pairs" : "halves",
          .run =
              [=](const StepCall& call) {
                const RopeTable& table = tables->table(call.in(1), tokens, call.run);
                rotate(call.floats(0), heads * head_dim, tokens, heads, head_dim, rotary / 2, table.cosine.data(), table.sine.data(),
                       call.out_floats(), heads * head_dim);
              },
          .in_place = {0}};
}

}  // namespace lacuna
