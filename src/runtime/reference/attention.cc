// Attention over a cache, rotary embeddings, positions, and pooling over tokens.
#include <cmath>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// New tokens [b, t, heads * d] into the cache [b, heads, capacity, d] from token `past` on.
void append(const OpCall& call, const Tensor& fresh, Tensor cache, int64_t past) {
  int64_t batch = fresh.dim(0), tokens = fresh.dim(1), heads = cache.dim(1), capacity = cache.dim(2), width = cache.dim(3);
  if (cache.dim(0) != batch || heads * width != fresh.dim(2) || past + tokens > capacity)
    call.fail(cat("tokens ", to_string(fresh.shape()), " do not fit the cache ", to_string(cache.shape()), " at ", past));
  const float* from = elements<float>(fresh);
  for (int64_t b = 0; b < batch; b++)
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t h = 0; h < heads; h++)
        std::copy_n(from + ((b * tokens + t) * heads + h) * width, width, elements<float>(cache) + ((b * heads + h) * capacity + past + t) * width);
}

// Keys or values by (batch, head, token), in a cache or in a plain input.
struct Rows {
  const float* data;
  int64_t batch_stride, head_stride, token_stride;
  const float* at(int64_t b, int64_t h, int64_t s) const { return data + b * batch_stride + h * head_stride + s * token_stride; }
};
Rows rows_of(const Tensor& plain, int64_t heads) {
  int64_t width = plain.dim(2) / heads;
  return {elements<float>(plain), plain.dim(1) * plain.dim(2), width, plain.dim(2)};
}
Rows rows_of_cache(const Tensor& cache) {
  return {elements<float>(cache), cache.dim(1) * cache.dim(2) * cache.dim(3), cache.dim(2) * cache.dim(3), cache.dim(3)};
}

}  // namespace

// scores[h, i, j] = softcap(scale q[i, h] . k[j, h / group]) + mask; y[i, h] = sum_j softmax_j(scores) v[j, h / group].
// A query that may see no key at all gives zeros.
void attention(const OpCall& call) {
  const Tensor &q = call.in(0), &k = call.in(1), &v = call.in(2);
  int64_t heads = call.integer("heads", 1), kv_heads = call.integer("kv_heads", heads), head_dim = call.integer("head_dim", q.dim(2) / heads);
  int64_t batch = q.dim(0), tokens = q.dim(1), value_dim = v.dim(2) / kv_heads, group = heads / kv_heads;
  bool causal = call.integer("causal", 0) != 0, cached = call.has(4);
  int64_t window = call.integer("window", 0);
  double scale = call.number("scale", 1 / std::sqrt(double(head_dim))), softcap = call.number("softcap", 0);
  int64_t keys = cached ? call.context.past + tokens : k.dim(1);
  int64_t past = keys - tokens;  // query i is token past + i of the sequence
  if (cached) {
    append(call, k, call.in(4), call.context.past);
    append(call, v, call.in(5), call.context.past);
  }
  Rows key_rows = cached ? rows_of_cache(call.in(4)) : rows_of(k, kv_heads), value_rows = cached ? rows_of_cache(call.in(5)) : rows_of(v, kv_heads);

  // Mask: [b, s] (or bool of any rank) says which keys are kept; others are added to the scores.
  bool masked = call.has(3), keeps = masked && (call.in(3).rank() == 2 || call.in(3).dtype() == DType::kBool);
  Tensor mask = masked ? as_f32(call.in(3)) : Tensor();
  Shape full = {batch, heads, tokens, keys};
  std::vector<int64_t> mask_strides(4, 0);
  if (masked) {
    if (mask.rank() == 2) mask = mask.reshaped({mask.dim(0), 1, 1, mask.dim(1)});
    if (mask.rank() > 4 || broadcast_shapes(call, mask.shape(), full) != full)
      call.fail(cat("mask ", to_string(call.in(3).shape()), " does not broadcast to ", to_string(full), " (batch, heads, queries, keys)"));
    mask_strides = broadcast_strides(mask.shape(), full);
  }

  Tensor& y = call.make(0, DType::kF32, {batch, tokens, heads * value_dim});
  std::vector<double> scores(static_cast<size_t>(keys)), sum(static_cast<size_t>(value_dim));
  for (int64_t b = 0; b < batch; b++)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t i = 0; i < tokens; i++) {
        const float* query = elements<float>(q) + ((b * tokens + i) * heads + h) * head_dim;
        double largest = kMinusInfinity;
        for (int64_t j = 0; j < keys; j++) {
          double& score = scores[size_t(j)];
          bool visible = !(causal && j > past + i) && !(window > 0 && j <= past + i - window);
          float m = masked ? elements<float>(mask)[b * mask_strides[0] + h * mask_strides[1] + i * mask_strides[2] + j * mask_strides[3]] : 0;
          if (!visible || (keeps && m == 0)) {
            score = kMinusInfinity;
            continue;
          }
          const float* key = key_rows.at(b, h / group, j);
          double dot = 0;
          for (int64_t d = 0; d < head_dim; d++) dot += double(query[d]) * key[d];
          score = dot * scale;
          if (softcap > 0) score = softcap * std::tanh(score / softcap);
          if (masked && !keeps) score += m;
          if (score > largest || std::isnan(score)) largest = score;
        }
        double total = 0;
        std::fill(sum.begin(), sum.end(), 0);
        for (int64_t j = 0; j < keys && largest != kMinusInfinity; j++) {
          double weight = std::exp(scores[size_t(j)] - largest);
          if (weight == 0) continue;
          total += weight;
          const float* value = value_rows.at(b, h / group, j);
          for (int64_t d = 0; d < value_dim; d++) sum[size_t(d)] += weight * value[d];
        }
        float* out = elements<float>(y) + ((b * tokens + i) * heads + h) * value_dim;
        for (int64_t d = 0; d < value_dim; d++) out[d] = total != 0 ? float(sum[size_t(d)] / total) : 0;
      }
}

// Rotates pairs of the first rotary_dim elements of every head by position * inv_freq: pair (d, d + rotary_dim / 2), or
// (2d, 2d + 1) if interleaved.
void rope(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t heads = call.integer("heads", 1), head_dim = call.integer("head_dim", x.dim(2) / heads), rotary = call.integer("rotary_dim", head_dim);
  bool interleaved = call.integer("interleaved", 0) != 0;
  double theta = call.number("theta", 10000), factor = call.number("attention_factor", 1);
  auto inv_freq = call.node.attributes.numbers("inv_freq");
  if (inv_freq.empty())
    for (int64_t d = 0; d < rotary / 2; d++) inv_freq.push_back(std::pow(theta, -2.0 * double(d) / double(rotary)));
  if (int64_t(inv_freq.size()) != rotary / 2) call.fail(cat("inv_freq has ", inv_freq.size(), " entries, wanted ", rotary / 2));
  auto positions = integers_of(call.in(1));
  int64_t tokens = x.dim(0) * x.dim(1);
  // Positions of one row serve every row.
  if (tokens > 0 && (positions.empty() || tokens % int64_t(positions.size())))
    call.fail(cat("positions ", to_string(call.in(1).shape()), " do not fit ", to_string(x.shape())));
  Tensor& y = call.make(0, DType::kF32, x.shape());
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      const float* in = elements<float>(x) + (t * heads + h) * head_dim;
      float* out = elements<float>(y) + (t * heads + h) * head_dim;
      std::copy_n(in, head_dim, out);
      for (int64_t d = 0; d < rotary / 2; d++) {
        // The angle in f32, as the models were trained.
        float angle = float(positions[size_t(t) % positions.size()]) * float(inv_freq[size_t(d)]);
        float c = float(std::cos(angle) * factor), s = float(std::sin(angle) * factor);
        int64_t first = interleaved ? 2 * d : d, second = interleaved ? 2 * d + 1 : d + rotary / 2;
        float a = in[first], b = in[second];
        out[first] = a * c - b * s;
        out[second] = b * c + a * s;
      }
    }
}

// past + 0..t-1 + offset; with padding_id (RoBERTa) or an attention_mask (OPT) only tokens that count advance the position.
void positions(const OpCall& call) {
  const Tensor& ids = call.in(0);
  int64_t batch = ids.dim(0), tokens = ids.dim(1), offset = call.integer("offset", 0), past = call.context.past;
  bool has_padding = call.node.attributes.has("padding_id");
  int64_t padding = call.integer("padding_id", -1);
  auto id = integers_of(ids);
  std::vector<int64_t> mask = call.has(1) ? integers_of(call.in(1)) : std::vector<int64_t>();
  int64_t mask_columns = call.has(1) ? call.in(1).dim(1) : 0;
  if (call.has(1) && (call.in(1).dim(0) != batch || mask_columns < tokens))
    call.fail(cat("attention_mask ", to_string(call.in(1).shape()), " does not cover ", to_string(ids.shape())));
  Tensor& y = call.make(0, DType::kS64, ids.shape());
  for (int64_t b = 0; b < batch; b++) {
    // A mask wider than the new tokens covers the past as well.
    int64_t counted = mask_columns > tokens ? 0 : past;
    for (int64_t j = 0; j < mask_columns - tokens; j++) counted += mask[size_t(b * mask_columns + j)] != 0;
    for (int64_t t = 0; t < tokens; t++) {
      int64_t& out = elements<int64_t>(y)[b * tokens + t];
      if (has_padding) {
        bool counts = id[size_t(b * tokens + t)] != padding;
        counted += counts;
        out = (counts ? counted : 0) + padding + offset;
      } else if (call.has(1)) {
        bool counts = mask[size_t(b * mask_columns + mask_columns - tokens + t)] != 0;
        counted += counts;
        out = (counts ? counted : 0) - 1 + offset;
      } else {
        out = past + t + offset;
      }
    }
  }
}

// One vector per sequence: the mean or maximum of the tokens that the mask keeps, the first token, or the last kept one.
void token_pool(const OpCall& call) {
  const Tensor& hidden = call.in(0);
  int64_t batch = hidden.dim(0), tokens = hidden.dim(1), width = hidden.dim(2);
  std::string mode = call.text("mode", "mean");
  std::vector<int64_t> mask(size_t(batch * tokens), 1);
  if (call.has(1)) mask = integers_of(call.in(1));
  if (int64_t(mask.size()) != batch * tokens)
    call.fail(cat("attention_mask ", to_string(call.in(1).shape()), " does not fit ", to_string(hidden.shape())));
  Tensor& y = call.make(0, DType::kF32, {batch, width});
  for (int64_t b = 0; b < batch; b++)
    for (int64_t d = 0; d < width; d++) {
      double sum = 0, count = 0;
      float largest = -std::numeric_limits<float>::infinity(), last = 0;
      for (int64_t t = 0; t < tokens; t++) {
        if (mask[size_t(b * tokens + t)] == 0) continue;
        float value = elements<float>(hidden)[(b * tokens + t) * width + d];
        sum += value, count += 1, largest = std::max(largest, value), last = value;
      }
      float& out = elements<float>(y)[b * width + d];
      if (mode == "mean")
        out = float(sum / std::max(count, 1e-9));
      else if (mode == "max")
        out = largest;
      else if (mode == "last")
        out = last;
      else if (mode == "cls")
        out = tokens ? elements<float>(hidden)[b * tokens * width + d] : 0;
      else
        call.fail(cat("mode is '", mode, "', known are mean, cls, max, last"));
    }
}

}  // namespace lacuna::reference
