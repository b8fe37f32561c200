// Runs a recipe: finds what each line claims, plans how much of each weight is kept, then streams the weights through to the output.
// A mask is never stored on the way: what earlier stages removed is found again from the weight whenever it is loaded, so memory stays
// near the largest weight however large the model is.
#include <algorithm>
#include <cmath>
#include <chrono>
#include <map>
#include <memory>

#include "base/cat.h"
#include "base/hash.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/output_directory.h"
#include "lacuna/error.h"
#include "lacuna/prune.h"
#include "prune/prune.h"
#include "recipe/claims.h"

namespace lacuna {
namespace {

// A line of a recipe, read against the tables of names.
struct Line {
  std::string where;  // "stage 1, line 2"
  const PruneLine* text;
  std::unique_ptr<Pattern> pattern;
  PruneSettings settings;
};

// What one line does to one weight.
struct Step {
  const Line* line;
  int64_t kept_units;
};
using Plan = std::map<WeightId, std::vector<Step>>;

WeightData after_steps(const Weight& weight, WeightData data, std::span<const Step> steps) {
  for (auto& step : steps) data = prune_weight(weight, data, choose_mask(weight, data, step.line->settings, step.kept_units));
  return data;
}

// A weight as earlier stages leave it.
class StagedSource : public WeightSource {
 public:
  StagedSource(const Weight& weight, std::span<const Step> steps) : weight_(weight), steps_(steps.begin(), steps.end()) {}
  WeightData load() const override { return after_steps(weight_, weight_.load(), steps_); }
  int64_t stored_bytes() const override { return weight_.source->stored_bytes(); }
  void drop() const override { weight_.source->drop(); }

 private:
  const Weight& weight_;
  std::vector<Step> steps_;
};

Line read_line(const Stage& stage, size_t index) {
  const PruneLine& text = stage.prune[index];
  Line line{cat(stage.name, ", line ", index + 1), &text, nullptr, {}};
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
    throw InvalidArgument(cat(line.where, ": ", line.pattern->name(), " fixes the sparsity at ", *fixed, "; sparsity ", *text.sparsity, " conflicts with it"));
  if (!fixed && !text.sparsity) throw InvalidArgument(cat(line.where, ": sparsity is missing (only N:M fixes it)"));
  if (line.settings.sparsity && *line.settings.sparsity >= 1) throw InvalidArgument(cat(line.where, ": sparsity 1 would remove every weight; it must be below 1"));
  if (fixed && !text.overrides.empty()) throw InvalidArgument(cat(line.where, ": overrides of the sparsity make no sense with ", line.pattern->name(), ", which fixes it"));
  return line;
}

class Driver {
 public:
  Driver(const Model& model, const Recipe& recipe, PruneReport& report, Progress* progress) : model_(model), graph_(*model.graph), report_(report), progress_(progress) {
    for (size_t s = 0; s < recipe.stages.size(); s++) plan_stage(recipe.stages[s]);
    remark();
  }

  // Says what would be done, without doing it.
  void list_claims() {
    for (auto& [id, steps] : plan_) report_.weights.push_back(describe(id, steps));
    for (auto& w : report_.weights) report_.claimed_parameters += w.parameters;
  }

  void write(LacunaWriter& writer) {
    int64_t done = 0, total = 0;
    for (auto& weight : graph_.weights) total += weight.size();
    for (WeightId id : writer.order()) {
      const Weight& weight = graph_.weights[id];
      if (progress_) progress_->update("pruning", done, total);
      auto it = plan_.find(id);
      WeightData data = weight.load();
      if (it != plan_.end()) data = after_steps(weight, std::move(data), it->second);
      int64_t zeros = data.mask ? weight.size() - data.mask->count_kept() : 0;
      // A weight that an interrupted run has stored is only counted again.
      LacunaWriter::Stored stored = writer.has_weight(id) ? writer.stored(id) : writer.add_weight(id, data, it == plan_.end() ? weight.pattern : it->second.back().line->pattern->name());
      weight.source->drop();
      report_.total_parameters += weight.size();
      report_.total_zeros += zeros;
      report_.bytes_before += weight.source->stored_bytes();
      report_.bytes_after += stored.bytes;
      if (it != plan_.end()) {
        PrunedWeight w = describe(id, it->second);
        w.zeros = zeros;
        w.sparsity = double(zeros) / double(std::max<int64_t>(1, w.parameters));
        w.format = stored.format;
        w.bytes_after = stored.bytes;
        report_.claimed_parameters += w.parameters;
        report_.claimed_zeros += w.zeros;
        if (w.zeros == w.parameters) report_.needs_attention.push_back(cat("'", w.name, "' has lost every weight"));
        else if (w.sparsity > 0.99) report_.needs_attention.push_back(cat("'", w.name, "' has lost ", w.sparsity * 100, " % of its weights"));
        report_.weights.push_back(std::move(w));
      }
      done += weight.size();
    }
  }

 private:
  PrunedWeight describe(WeightId id, const std::vector<Step>& steps) const {
    const Weight& weight = graph_.weights[id];
    const WeightUse& use = uses_.at(id);
    std::string lines;
    for (auto& step : steps) lines += (lines.empty() ? "" : "; ") + step.line->where;
    return {.name = weight.name, .layer = graph_.node(use.node).name, .op = use.op_type, .line = lines, .shape = weight.shape, .parameters = weight.size(),
            .pattern = steps.back().line->pattern->name(), .format = weight.source->stored_format(), .bytes_before = weight.source->stored_bytes()};
  }

  void plan_stage(const Stage& stage) {
    std::vector<std::vector<Claim>> claims = claim_weights(graph_, stage);
    for (size_t l = 0; l < claims.size(); l++) {
      lines_.push_back(std::make_unique<Line>(read_line(stage, l)));
      plan_line(*lines_.back(), claims[l]);
    }
  }

  void plan_line(const Line& line, const std::vector<Claim>& claims) {
    std::vector<Weight> staged;
    std::vector<std::optional<double>> sparsities;
    std::vector<std::string> misfits;
    std::vector<WeightId> ids;
    for (auto& claim : claims) {
      const Weight& weight = graph_.weights[claim.use.weight];
      MatrixView view(weight.layout, weight.shape);
      if (auto reason = line.pattern->refuses(view.rows, view.cols, view.inner)) {
        std::string text = cat("'", weight.name, "' ", to_string(weight.shape), " cannot be ", line.pattern->name(), ": ", *reason);
        if (claim.by_name) misfits.push_back(text);
        else report_.needs_attention.push_back(text + "; it stays dense");
        continue;
      }
      uses_[claim.use.weight] = claim.use;
      ids.push_back(claim.use.weight);
      sparsities.push_back(claim.override_sparsity);
      Weight copy = weight;
      if (auto it = plan_.find(claim.use.weight); it != plan_.end()) copy.source = std::make_shared<StagedSource>(weight, it->second);
      staged.push_back(std::move(copy));
    }
    if (!misfits.empty()) throw InvalidArgument(cat(line.where, ": ", join(misfits, "\n")));
    if (ids.empty()) throw InvalidArgument(cat(line.where, ": no weight that it claims can be ", line.pattern->name()));
    std::vector<PruneTarget> targets;
    for (size_t i = 0; i < ids.size(); i++) targets.push_back({&staged[i], sparsities[i]});
    std::vector<int64_t> kept = plan_units(targets, line.settings, progress_);
    for (size_t i = 0; i < ids.size(); i++) plan_[ids[i]].push_back({&line, kept[i]});
  }

  // What a user should know of the request before trusting the result.
  void remark() {
    bool convolutions = false, batch_norm = false;
    for (auto& node : graph_.nodes()) {
      convolutions |= node.op == Op::conv;
      batch_norm |= node.op == Op::batch_norm;
    }
    for (auto& line : lines_) {
      const PruneSettings& s = line->settings;
      if (convolutions && !batch_norm && s.criterion->name == "magnitude" && s.allocation == "global")
        report_.needs_attention.push_back(cat(line->where, ": batch norm is folded into the convolutions of this export, so the scales of different layers do not compare and global "
                                              "magnitude takes too much from some; uniform or erk allocation, criterion lamp, or an export that keeps batch norm do better"));
      double sparsity = s.sparsity.value_or(line->pattern->fixed_sparsity().value_or(0));
      if (sparsity > 0.7)
        report_.needs_attention.push_back(cat(line->where, ": ", sparsity * 100, " % in one shot is beyond what ", s.criterion->name, " usually survives without retraining (50 to 70 %); measure with `lacuna eval`"));
    }
  }

  const Model& model_;
  const Graph& graph_;
  PruneReport& report_;
  Progress* progress_;
  std::vector<std::unique_ptr<Line>> lines_;
  Plan plan_;
  std::map<WeightId, WeightUse> uses_;
};

std::vector<Choice> choices_of(auto&& table) {
  std::vector<Choice> out;
  for (auto& entry : table) out.push_back({std::string(entry.name), std::string(entry.help), std::string(entry.source)});
  return out;
}

}  // namespace

PruneReport sparsify(const std::filesystem::path& path, const Recipe& recipe, const std::filesystem::path& output, const SparsifyOptions& options, Progress* progress) {
  auto start = std::chrono::steady_clock::now();
  if (recipe.stages.empty()) throw InvalidArgument("the recipe has no stage");
  if (!options.dry_run) check_replaceable(output, options.force);
  PruneReport report{.model = path.string(), .output = output.string(), .dry_run = options.dry_run};
  Model model = load_model(path);
  Driver driver(model, recipe, report, progress);
  if (options.dry_run) {
    driver.list_claims();
    return report;
  }
  std::string yaml = to_yaml(recipe);
  LacunaWriter writer(output, *model.graph, model.source_kind, options.force, cat("sparsify ", std::filesystem::absolute(path).string(), " ", hash_hex(yaml)));
  driver.write(writer);
  writer.add_assets(model);
  writer.add_file("recipe.yaml", yaml);
  // The same request writes the same bytes, so the file says neither where nor how long.
  PruneReport lasting = report;
  lasting.output.clear();
  writer.add_file("report.json", to_json(lasting));
  writer.finish();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::vector<Choice> criteria_choices() { return choices_of(criteria()); }
std::vector<Choice> allocation_choices() { return choices_of(allocations()); }

std::vector<Choice> pattern_choices() {
  std::vector<Choice> out;
  for (auto& kind : pattern_kinds()) out.push_back({std::string(kind.name), cat(kind.help, "; ", kind.examples), ""});
  return out;
}

}  // namespace lacuna
