#include "prune/prune.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "sparse/format.h"

namespace lacuna {
namespace {

// Values in matrix order, without a copy where they lie so already.
Tensor decoded_matrix(const Weight& weight, const WeightData& data, const MatrixView& view) {
  if (data.values.dtype() == DType::kF32 && weight.encoding.granularity == Encoding::Granularity::kNone && view.identity() && !data.mask)
    return data.values.reshaped({view.rows, view.cols});
  Tensor out(DType::kF32, {view.rows, view.cols}, false);
  float* values = out.mutable_data<float>().data();
  constexpr int64_t kRowsPerTile = 64;  // decode_rows converts the scales anew at each call
  parallel_for((view.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile) {
    int64_t first = tile * kRowsPerTile;
    decode_rows(weight, data, first, std::min(kRowsPerTile, view.rows - first), values + first * view.cols);
  });
  return out;
}

ConstMatrixRef matrix_ref(const Tensor& t) { return {t.data<float>().data(), t.dim(0), t.dim(1), t.dim(1)}; }

Mask both(const Mask& a, const Mask& b) {
  LACUNA_ASSERT(a.rows() == b.rows() && a.cols() == b.cols());
  Mask out = a;
  for (int64_t r = 0; r < a.rows(); r++) {
    auto words = out.mutable_row(r);
    for (size_t i = 0; i < words.size(); i++) words[i] &= b.row(r)[i];
  }
  return out;
}

LayerInfo info_of(const Weight& weight, const Pattern& pattern) {
  MatrixView view(weight.layout, weight.shape);
  return {weight.name, weight.shape, view.rows, view.cols, view.inner, pattern.unit_rows(view.rows) * pattern.unit_cols(view.cols, view.inner)};
}

void check(double sparsity, const std::string& what) {
  if (!(sparsity >= 0 && sparsity < 1)) throw InvalidArgument(cat(what, ": sparsity is ", sparsity, ", 0 <= sparsity < 1 expected"));
}

void check_fixed(const Pattern& pattern, std::optional<double> sparsity, const std::string& what) {
  double fixed = *pattern.fixed_sparsity();
  if (sparsity && std::abs(*sparsity - fixed) > 1e-9)
    throw InvalidArgument(cat(what, ": sparsity ", *sparsity, " conflicts with pattern ", pattern.name(), ", which fixes it at ", fixed));
}

void check_request(std::span<const PruneTarget> targets, const PruneSettings& settings) {
  const Pattern& pattern = *settings.pattern;
  bool fixed = pattern.fixed_sparsity().has_value();
  if (fixed) check_fixed(pattern, settings.sparsity, "prune");
  if (!fixed && settings.sparsity) check(*settings.sparsity, "prune");
  for (const PruneTarget& target : targets) {
    MatrixView view(target.weight->layout, target.weight->shape);
    if (auto reason = pattern.refuses(view.rows, view.cols, view.inner))
      throw InvalidArgument(cat("weight '", target.weight->name, "' cannot be ", pattern.name(), ": ", *reason));
    if (fixed) check_fixed(pattern, target.sparsity, target.weight->name);
    if (!fixed && target.sparsity) check(*target.sparsity, target.weight->name);
    if (!fixed && !target.sparsity && !settings.sparsity) throw InvalidArgument(cat("pattern ", pattern.name(), " needs a sparsity"));
  }
}

}  // namespace

namespace {

void require_finite(const Weight& weight, const Tensor& values) {
  std::span<const float> all = values.data<float>();
  constexpr int64_t kChunk = 1 << 16;
  std::atomic<int64_t> broken = 0;
  parallel_for((values.size() + kChunk - 1) / kChunk, [&](int64_t i) {
    auto chunk = all.subspan(size_t(i * kChunk), size_t(std::min(kChunk, values.size() - i * kChunk)));
    broken += std::ranges::count_if(chunk, [](float v) { return !std::isfinite(v); });
  });
  if (broken) throw InvalidData(cat("weight '", weight.name, "' holds ", broken.load(), " values that are not finite: they have no rank"));
}

}  // namespace

Tensor score_weight(const Weight& weight, const WeightData& data, const Criterion& criterion, uint64_t seed) {
  MatrixView view(weight.layout, weight.shape);
  Tensor values = decoded_matrix(weight, data, view);
  require_finite(weight, values);
  Tensor scores = criterion.score(matrix_ref(values), {.weight_name = weight.name, .seed = seed});
  if (!data.mask) return scores;
  float* s = scores.mutable_data<float>().data();
  parallel_for(view.rows, [&](int64_t r) {
    for (int64_t c = 0; c < view.cols; c++)
      if (!data.mask->kept(r, c)) s[r * view.cols + c] = -1;
  });
  return scores;
}

std::vector<int64_t> plan_units(std::span<const PruneTarget> targets, const PruneSettings& settings, Progress* progress) {
  check_request(targets, settings);
  const Pattern& pattern = *settings.pattern;
  std::vector<int64_t> kept(targets.size());
  std::vector<LayerInfo> shared;
  std::vector<size_t> shared_index;
  for (size_t i = 0; i < targets.size(); i++) {
    LayerInfo info = info_of(*targets[i].weight, pattern);
    if (auto sparsity = pattern.fixed_sparsity() ? pattern.fixed_sparsity() : targets[i].sparsity) {
      kept[i] = std::llround((1 - *sparsity) * double(info.units));
    } else {
      shared.push_back(std::move(info));
      shared_index.push_back(i);
    }
  }
  if (shared.empty()) return kept;
  int64_t visits = 0;
  auto unit_scores = [&](size_t layer) {
    const Weight& weight = *targets[shared_index[layer]].weight;
    if (progress) progress->update("ranking", visits++, int64_t(shared.size()) * 3);
    Tensor scores = score_weight(weight, weight.load(), *settings.criterion, settings.seed);
    weight.source->drop();
    return pattern.unit_scores(matrix_ref(scores), shared[layer].inner, settings.l2);
  };
  auto units = allocate(settings.allocation, {.layers = shared, .sparsity = *settings.sparsity, .unit_scores = unit_scores});
  for (size_t i = 0; i < units.size(); i++) kept[shared_index[i]] = units[i];
  return kept;
}

Mask choose_mask(const Weight& weight, const WeightData& data, const PruneSettings& settings, int64_t kept_units) {
  MatrixView view(weight.layout, weight.shape);
  Tensor scores = score_weight(weight, data, *settings.criterion, settings.seed);
  Mask mask = settings.pattern->select(matrix_ref(scores), view.inner, kept_units, settings.l2);
  return data.mask ? both(mask, *data.mask) : mask;
}

WeightData prune_weight(const Weight& weight, const WeightData& data, const Mask& mask) {
  WeightData out = data;
  out.mask = data.mask ? both(mask, *data.mask) : mask;
  out.values = source_order(weight, masked_matrix(weight, out).codes);
  return out;
}

}  // namespace lacuna
