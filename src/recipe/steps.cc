#include "recipe/steps.h"

#include <cmath>

#include "base/cat.h"
#include "lacuna/error.h"
#include "quantize/ranges.h"

namespace lacuna {
namespace {

// Pattern and encoding alone.
void describe(Weight& weight, std::span<const Step> steps) {
  for (auto& step : steps) {
    if (step.line->prune)
      weight.pattern = step.line->pattern->name();
    else
      weight.encoding = encoding_of(step.scheme);
  }
}

class StagedSource : public WeightSource {
 public:
  StagedSource(const Weight& weight, std::span<const Step> steps) : weight_(weight), steps_(steps.begin(), steps.end()) {}
  WeightData load() const override { return after_steps(weight_, weight_.load(), steps_).data; }
  int64_t stored_bytes() const override { return weight_.source->stored_bytes(); }
  void drop() const override { weight_.source->drop(); }

 private:
  Weight weight_;
  std::vector<Step> steps_;
};

}  // namespace

StagedWeight after_steps(const Weight& weight, WeightData data, std::span<const Step> steps) {
  StagedWeight out{weight, std::move(data)};
  bool broken = false;
  for (auto& step : steps) {
    if (step.line->prune) {
      out.data = prune_weight(out.weight, out.data, choose_mask(out.weight, out.data, step.line->settings, step.kept_units));
      broken = step.line->pattern->violations(*out.data.mask, MatrixView(weight.layout, weight.shape).inner) > 0;
    } else {
      QuantizedWeight quantized = quantize_weight(out.weight, out.data, step.scheme);
      out.data = std::move(quantized.data);
      out.rounding_error = quantized.relative_error;
    }
    describe(out.weight, {&step, 1});
    if (broken) out.weight.pattern = "unstructured";  // blocks with the holes of an earlier step
  }
  return out;
}

Weight staged(const Weight& weight, std::span<const Step> steps) {
  Weight out = weight;
  describe(out, steps);
  out.source = std::make_shared<StagedSource>(weight, steps);
  return out;
}

Line read_prune_line(const PruneLine& text, std::string where) {
  Line line{.where = std::move(where), .prune = &text};
  try {
    line.pattern = parse_pattern(text.pattern);
    line.settings.criterion = &criterion_named(text.criterion);
    line.settings.allocation = allocation_named(text.allocation).name;
    if (text.norm != "l1" && text.norm != "l2") throw InvalidArgument(cat("norm '", text.norm, "' is unknown; known: l1, l2"));
  } catch (const InvalidArgument& e) {
    throw InvalidArgument(cat(line.where, ": ", e.what()));
  }
  line.settings.pattern = line.pattern.get();
  line.settings.l2 = text.norm == "l2";
  line.settings.seed = text.seed;
  line.settings.sparsity = text.sparsity;
  auto fixed = line.pattern->fixed_sparsity();
  if (fixed && text.sparsity && std::abs(*text.sparsity - *fixed) > 1e-9)
    throw InvalidArgument(
        cat(line.where, ": ", line.pattern->name(), " fixes the sparsity at ", *fixed, "; sparsity ", *text.sparsity, " conflicts with it"));
  if (!fixed && !text.sparsity) throw InvalidArgument(cat(line.where, ": sparsity is missing (only N:M fixes it)"));
  if (line.settings.sparsity && *line.settings.sparsity >= 1)
    throw InvalidArgument(cat(line.where, ": sparsity 1 would remove every weight; it must be below 1"));
  auto refuse = [&](std::string_view what, std::string_view why) { throw InvalidArgument(cat(line.where, ": ", what, " has no effect ", why)); };
  if (fixed && text.allocation != "uniform")
    refuse(cat("allocation ", text.allocation), cat("with ", line.pattern->name(), ", which fixes the sparsity of every weight"));
  if (line.settings.l2 && !line.pattern->name().starts_with("block")) refuse("norm l2", "without blocks, whose scores it combines");
  if (text.seed && text.criterion != "random") refuse("a seed", "without the criterion random");
  if (fixed && !text.overrides.empty())
    throw InvalidArgument(cat(line.where, ": overrides of the sparsity make no sense with ", line.pattern->name(), ", which fixes it"));
  return line;
}

Line read_quantize_line(const QuantizeLine& text, std::string where) {
  if (text.weights != "int8" && text.weights != "int4")
    throw InvalidArgument(cat(where, ": weights '", text.weights, "' is unknown; known: int8, int4"));
  if (text.activations != "none" && text.activations != "int8")
    throw InvalidArgument(cat(where, ": activations '", text.activations, "' is unknown; known: none, int8"));
  try {
    range_method_named(text.method);
  } catch (const InvalidArgument& e) {
    throw InvalidArgument(cat(where, ": ", e.what()));
  }
  if (!(text.percentile > 50 && text.percentile <= 100))
    throw InvalidArgument(cat(where, ": percentile is ", text.percentile, ", wanted a number above 50, at most 100"));
  if (text.num_calibration_samples < 1)
    throw InvalidArgument(cat(where, ": num_calibration_samples is ", text.num_calibration_samples, ", wanted at least 1"));
  if (text.weights == "int4" && (text.group_size < 32 || text.group_size % 32))
    throw InvalidArgument(cat(where, ": group_size is ", text.group_size, ", wanted a multiple of 32"));
  return {.where = std::move(where), .quantize = &text};
}

}  // namespace lacuna
