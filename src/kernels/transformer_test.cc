#include "kernels/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "kernels/epilogue.h"

namespace lacuna::kernels {
namespace {

TEST(Softmax, OfARowWithNaNIsNaN) {
  for (int64_t n : {1, 3, 16, 37})
    for (int64_t at : {int64_t(0), n / 2, n - 1}) {
      std::vector<float> x(size_t(n), 1.0f), y(size_t(n), 0.0f);
      x[size_t(at)] = NAN;
      softmax_rows(x.data(), 1, n, y.data());
      for (float v : y) EXPECT_TRUE(std::isnan(v)) << n << " " << at;
    }
}

std::vector<float> random(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> out;
  for (int64_t i = 0; i < n; i++) out.push_back(float(rng.normal()));
  return out;
}

// The definition, in double.
std::vector<double> naive(const AttentionProblem& p, const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                          const std::vector<float>* mask) {
  std::vector<double> out(size_t(p.batch * p.queries * p.heads * p.value_dim));
  for (int64_t b = 0; b < p.batch; b++)
    for (int64_t h = 0; h < p.heads; h++)
      for (int64_t i = 0; i < p.queries; i++) {
        int64_t kv = h / (p.heads / p.kv_heads), position = p.first_position + i;
        std::vector<double> weight(size_t(p.keys), 0);
        double total = 0, top = -1e300;
        std::vector<double> scores(size_t(p.keys), -INFINITY);
        for (int64_t j = 0; j < p.keys; j++) {
          if ((p.causal && j > position) || (p.window > 0 && j <= position - p.window)) continue;
          double s = 0;
          for (int64_t d = 0; d < p.dim; d++)
            s += double(q[size_t(((b * p.queries + i) * p.heads + h) * p.dim + d)]) *
                 double(k[size_t(((b * p.keys + j) * p.kv_heads + kv) * p.dim + d)]);
          s *= double(p.scale);
          if (p.softcap > 0) s = std::tanh(s / double(p.softcap)) * double(p.softcap);
          if (mask) s += double((*mask)[size_t(b * p.keys + j)]);
          scores[size_t(j)] = s;
          top = std::max(top, s);
        }
        if (std::isinf(top) || top == -1e300) continue;
        for (int64_t j = 0; j < p.keys; j++) total += weight[size_t(j)] = std::exp(scores[size_t(j)] - top);
        for (int64_t j = 0; j < p.keys; j++)
          for (int64_t d = 0; d < p.value_dim; d++)
            out[size_t(((b * p.queries + i) * p.heads + h) * p.value_dim + d)] +=
                weight[size_t(j)] / total * double(v[size_t(((b * p.keys + j) * p.kv_heads + kv) * p.value_dim + d)]);
      }
  return out;
}

TEST(Attention, EqualsTheDefinitionForManyShapes) {
  std::vector<AttentionProblem> problems;
  for (int64_t queries : {1, 3, 16, 17, 40})
    for (int64_t past : {0, 5, 70})
      for (bool causal : {false, true})
        for (int64_t dim : {8, 24, 64})
          problems.push_back({.batch = 2,
                              .heads = 4,
                              .kv_heads = 2,
                              .queries = queries,
                              .keys = past + queries,
                              .dim = dim,
                              .value_dim = dim + 4,
                              .scale = 0.3f,
                              .causal = causal,
                              .first_position = past});
  problems.push_back({.batch = 1,
                      .heads = 2,
                      .kv_heads = 1,
                      .queries = 50,
                      .keys = 150,
                      .dim = 16,
                      .value_dim = 16,
                      .scale = 0.25f,
                      .causal = true,
                      .window = 20,
                      .first_position = 100});
  problems.push_back(
      {.batch = 1, .heads = 2, .kv_heads = 1, .queries = 9, .keys = 9, .dim = 16, .value_dim = 16, .scale = 0.25f, .softcap = 5, .causal = true});
  problems.push_back(
      {.batch = 1, .heads = 2, .kv_heads = 1, .queries = 45, .keys = 45, .dim = 16, .value_dim = 16, .scale = 0.25f, .softcap = 5, .causal = true});
  problems.push_back({.batch = 2, .heads = 3, .kv_heads = 3, .queries = 130, .keys = 130, .dim = 40, .value_dim = 33, .scale = 0.2f});
  for (auto p : problems)
    for (auto [masked, coarse] : {std::pair(false, false), {true, false}, {true, true}}) {
      p.coarse = coarse;
      auto q = random(p.batch * p.queries * p.heads * p.dim, 1), k = random(p.batch * p.keys * p.kv_heads * p.dim, 2),
           v = random(p.batch * p.keys * p.kv_heads * p.value_dim, 3);
      std::vector<float> mask(size_t(p.batch * p.keys), 0.0f), out(size_t(p.batch * p.queries * p.heads * p.value_dim), 7.0f);
      for (size_t i = 0; i < mask.size(); i += 3) mask[i] = -INFINITY;
      if (p.batch > 1) std::fill_n(mask.begin(), p.keys, -INFINITY);  // nothing to see in the first of the batch
      attention(p, q.data(), {p.queries * p.heads * p.dim, p.dim, p.heads * p.dim}, k.data(),
                {p.keys * p.kv_heads * p.dim, p.dim, p.kv_heads * p.dim}, v.data(),
                {p.keys * p.kv_heads * p.value_dim, p.value_dim, p.kv_heads * p.value_dim}, masked ? mask.data() : nullptr, {p.keys, 0, 0},
                out.data(), {p.queries * p.heads * p.value_dim, p.value_dim, p.heads * p.value_dim});
      auto want = naive(p, q, k, v, masked ? &mask : nullptr);
      for (size_t i = 0; i < out.size(); i++)
        ASSERT_NEAR(out[i], want[i], coarse ? 2e-4 : 2e-5)
            << "queries=" << p.queries << " keys=" << p.keys << " dim=" << p.dim << " causal=" << p.causal << " at " << i;
    }
}

TEST(Norms, EqualTheirDefinitionsForOddWidths) {
  for (int64_t n : {1, 7, 16, 33, 576}) {
    auto x = random(3 * n, 4), scale = random(n, 5), bias = random(n, 6);
    std::vector<float> layer(x.size()), rms(x.size()), soft(x.size());
    layer_norm_rows(x.data(), 3, n, scale.data(), bias.data(), 1e-5f, layer.data());
    rms_norm_rows(x.data(), 3, n, scale.data(), 1, 1e-6f, rms.data());
    softmax_rows(x.data(), 3, n, soft.data());
    for (int64_t r = 0; r < 3; r++) {
      double mean = 0, variance = 0, squares = 0, total = 0;
      for (int64_t i = 0; i < n; i++) mean += double(x[size_t(r * n + i)]) / double(n);
      for (int64_t i = 0; i < n; i++) {
        double v = x[size_t(r * n + i)];
        variance += (v - mean) * (v - mean) / double(n);
        squares += v * v / double(n);
        total += std::exp(v);
      }
      for (int64_t i = 0; i < n; i++) {
        double v = x[size_t(r * n + i)], s = scale[size_t(i)];
        EXPECT_NEAR(layer[size_t(r * n + i)], (v - mean) / std::sqrt(variance + 1e-5) * s + double(bias[size_t(i)]), 1e-4);
        EXPECT_NEAR(rms[size_t(r * n + i)], v / std::sqrt(squares + 1e-6) * (1 + s), 1e-4);
        EXPECT_NEAR(soft[size_t(r * n + i)], std::exp(v) / total, 1e-6);
      }
    }
  }
}

TEST(Activations, GatedProductEqualsActivationTimesUp) {
  auto gate = random(1001, 7), up = random(1001, 8);
  std::vector<float> y(1001);
  gated_array(gate.data(), up.data(), 1001, Activation::kSilu, y.data());
  for (size_t i = 0; i < y.size(); i++) EXPECT_NEAR(y[i], double(gate[i]) / (1 + std::exp(-double(gate[i]))) * double(up[i]), 1e-5);
}

TEST(Rope, RotatesTheHalvesAndKeepsTheRest) {
  int64_t tokens = 3, heads = 2, dim = 20, half = 8;
  auto x = random(tokens * heads * dim, 9), cosine = random(tokens * half, 10), sine = random(tokens * half, 11);
  std::vector<float> y(x.size());
  rope_half(x.data(), heads * dim, tokens, heads, dim, half, cosine.data(), sine.data(), y.data(), heads * dim);
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t i = 0; i < dim; i++) {
        const float* in = &x[size_t((t * heads + h) * dim)];
        double want = in[i];
        if (i < half)
          want = double(in[i]) * cosine[size_t(t * half + i)] - double(in[i + half]) * sine[size_t(t * half + i)];
        else if (i < 2 * half)
          want = double(in[i]) * cosine[size_t(t * half + i - half)] + double(in[i - half]) * sine[size_t(t * half + i - half)];
        EXPECT_NEAR(y[size_t((t * heads + h) * dim + i)], want, 1e-5);
      }
}

TEST(Rope, RotatesNeighboursAndKeepsTheRest) {
  int64_t tokens = 3, heads = 2, dim = 24, half = 9;
  auto x = random(tokens * heads * dim, 9), cosine = random(tokens * half, 10), sine = random(tokens * half, 11);
  std::vector<float> twice, with_sign, y(x.size());
  for (size_t i = 0; i < cosine.size(); i++) {
    twice.insert(twice.end(), {cosine[i], cosine[i]});
    with_sign.insert(with_sign.end(), {-sine[i], sine[i]});
  }
  rope_pairs(x.data(), heads * dim, tokens, heads, dim, half, twice.data(), with_sign.data(), y.data(), heads * dim);
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t i = 0; i < dim; i++) {
        const float* in = &x[size_t((t * heads + h) * dim)];
        double c = i < 2 * half ? cosine[size_t(t * half + i / 2)] : 1, s = i < 2 * half ? sine[size_t(t * half + i / 2)] : 0;
        double want = i % 2 == 0 ? double(in[i]) * c - double(in[i + 1]) * s : double(in[i]) * c + double(in[i - 1]) * s;
        EXPECT_NEAR(y[size_t((t * heads + h) * dim + i)], want, 1e-5);
      }
}

}  // namespace
}  // namespace lacuna::kernels
