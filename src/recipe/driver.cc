// Runs a recipe: finds what each line claims, plans how much of each weight is kept, then streams the weights through to the output.
// A mask is never stored on the way: what earlier stages removed is found again from the weight whenever it is loaded, so memory stays
// near the largest weight however large the model is.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "base/cat.h"
#include "base/hash.h"
#include "evaluate/accuracy.h"
#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/output_directory.h"
#include "lacuna/error.h"
#include "lacuna/prune.h"
#include "quantize/insert.h"
#include "recipe/calibrate.h"
#include "recipe/claims.h"
#include "recipe/kept_floats.h"
#include "recipe/steps.h"
#include "runtime/rounding.h"

namespace lacuna {
namespace {

using Plan = std::map<WeightId, std::vector<Step>>;

class Driver {
 public:
  // Edits the encodings of the graph's weights to what the recipe makes of them. A dry run ranks nothing.
  Driver(Graph& graph, const Recipe& recipe, PruneReport& report, Progress* progress)
      : graph_(graph),
        sources_(graph.weights.begin(), graph.weights.end()),
        own_weights_(WeightId(sources_.size())),
        report_(report),
        progress_(progress) {
    // What is wrong with any stage is said before the first is ranked, which may take minutes.
    std::vector<StageClaims> stages;
    for (auto& stage : recipe.stages) stages.push_back({prune_claims(stage), quantize_claims(stage)});
    for (auto& stage : stages) {
      for (auto& [line, claims] : stage.prune) plan_pruning(*line, claims);
      for (auto& [line, claims] : stage.quantize) plan_quantization(*line, claims);
    }
    remark();
    apply_encodings(graph_);
    round_tokens();
  }

  // Calibrates and writes the rounding of activations with fixed scales into the graph.
  void calibrate_activations() {
    if (!static_line_) return;
    auto copy = std::make_shared<Graph>(graph_);
    for (auto& [id, steps] : plan_) copy->weights.edit(id) = staged(sources_[size_t(id)], steps);
    RoundingPlan plan = plan_rounding(graph_, static_products_);
    if (plan.readers.empty()) {
      report_.needs_attention.push_back(cat(static_line_->where, ": what its layers read is rounded already, so there is nothing to calibrate; ",
                                            static_line_->quantize->dataset, " was not read"));
      return;
    }
    std::map<ValueId, float> scales = calibrate(copy, plan, *static_line_->quantize, report_.calibration, progress_);
    for (auto& [value, readers] : plan.readers) report_.activations.push_back({graph_.value(value).name, "static", scales.at(value)});
    insert_rounding(graph_, plan, scales);
    infer_shapes(graph_);
    sources_.insert(sources_.end(), graph_.weights.begin() + long(sources_.size()), graph_.weights.end());
  }

  // Of the calibration data; "" if none was read.
  std::string calibration_hash() const { return report_.calibration.empty() ? "" : report_.calibration.at("dataset_hash"); }

  // Says what would be done, without doing it.
  void list_claims() {
    for (auto& [id, steps] : plan_) {
      PrunedWeight w = describe(id, steps);
      w.format.clear();
      w.planned_sparsity = planned_sparsity(id, steps);
      report_.claimed_parameters += w.parameters;
      report_.weights.push_back(std::move(w));
    }
    for (auto& weight : sources_) {
      report_.total_parameters += weight.size();
      report_.bytes_before += weight.source->stored_bytes();
    }
    list_floats([&](WeightId id) { return sources_[size_t(id)].source->stored_bytes(); });
  }

  void write(LacunaWriter& writer) {
    int64_t done = 0, total = 0;
    for (auto& weight : graph_.weights) total += weight.size();
    for (WeightId id : writer.order()) {
      const Weight& weight = sources_[size_t(id)];
      if (progress_) progress_->update("writing", done, total);
      auto it = plan_.find(id);
      std::span<const Step> steps = it == plan_.end() ? std::span<const Step>() : it->second;
      // Of a weight that an interrupted run has stored, only the rounding error must be found again.
      bool rounded = std::any_of(steps.begin(), steps.end(), [](const Step& step) { return step.line->quantize; });
      StagedWeight result{weight, {}};
      if (rounded || !writer.has_weight(id)) result = after_steps(weight, weight.load(), steps);
      LacunaWriter::Stored stored = writer.has_weight(id) ? writer.stored(id) : writer.add_weight(id, result.data, result.weight.pattern);
      weight.source->drop();
      report_.total_parameters += weight.size();
      report_.total_zeros += stored.removed;
      report_.bytes_before += weight.source->stored_bytes();
      report_.bytes_after += stored.bytes;
      if (it != plan_.end()) {
        PrunedWeight w = describe(id, it->second);
        w.pattern = stored.pattern;
        w.zeros = stored.removed;
        w.sparsity = double(w.zeros) / double(std::max<int64_t>(1, w.parameters));
        w.format = stored.format;
        w.bytes_after = stored.bytes;
        w.rounding_error = result.rounding_error;
        report_.claimed_parameters += w.parameters;
        report_.claimed_zeros += w.zeros;
        if (w.zeros == w.parameters)
          report_.needs_attention.push_back(cat("'", w.name, "' has lost every weight"));
        else if (w.sparsity > 0.99)
          report_.needs_attention.push_back(cat("'", w.name, "' has lost ", w.sparsity * 100, " % of its weights"));
        compare_with_request(id, w);
        report_.weights.push_back(std::move(w));
      }
      if (stored.bytes > weight.source->stored_bytes()) grown_.push_back(cat("'", weight.name, "'"));
      done += weight.size();
    }
    list_floats([&](WeightId id) { return writer.stored(id).bytes; });
    if (!grown_.empty())
      report_.needs_attention.push_back(
          cat("stored in more bytes than they came in, because their new codes have more bits or their sparsity is below the break-even of their "
              "encoding "
              "(`lacuna inspect` shows it): ",
              join(grown_, ", ", 4)));
    for (auto& [miss, found] : missed_) {
      auto& [line, asked, why] = miss;
      report_.needs_attention.push_back(
          cat(line->where, ": asked for ", in_percent(asked), " zeros, found ", join(found, ", ", 4), ", because ", why));
    }
  }

 private:
  // Of the weights that the model came with.
  void list_floats(const std::function<int64_t(WeightId)>& bytes_of) {
    if (std::none_of(lines_.begin(), lines_.end(), [](auto& line) { return line->quantize; })) return;
    std::vector<int64_t> bytes;
    for (WeightId id = 0; id < own_weights_; id++) bytes.push_back(bytes_of(id));
    report_.kept_floats = kept_floats(graph_, bytes);
  }

  static std::string in_percent(double share) { return cat(std::round(share * 1e4) / 100, " %"); }

  // Notes a weight whose sparsity is off by more than one unit of its pattern, and why.
  void compare_with_request(WeightId id, const PrunedWeight& w) {
    const Line* line = nullptr;
    std::optional<double> asked;
    for (auto& step : plan_.at(id))
      if (step.line->prune) line = step.line, asked = step.asked;
    if (!line || !asked || w.parameters == 0) return;
    MatrixView view(sources_[size_t(id)].layout, w.shape);
    double units = double(line->pattern->unit_rows(view.rows) * line->pattern->unit_cols(view.cols, view.inner));
    if (line->pattern->fixed_sparsity() ? w.sparsity >= *asked : std::abs(w.sparsity - *asked) * units <= 1.001) return;
    const char* why = line->pattern->fixed_sparsity() ? "the last group of a row is shorter than the others and keeps a larger share"
                      : units == double(w.parameters) ? "so many were zero before and pruning brings no weight back"
                      : w.sparsity < *asked
                          ? "blocks that the edge of a matrix cuts off hold fewer weights than others"
                          : "zeros that were there before stay, also in blocks that are kept, and blocks are cut off at the edge of a matrix";
    missed_[{line, *asked, why}].push_back(cat(in_percent(w.sparsity), " in '", w.name, "'"));
  }

  void apply_encodings(Graph& graph) const {
    for (auto& [id, steps] : plan_) graph.weights.edit(id).encoding = staged(sources_[size_t(id)], steps).encoding;
    for (ValueId v = 0; v < ValueId(graph.values().size()); v++)  // coded weights read as f32
      if (graph.weight_of(v) && graph.weight_of(v)->encoding.granularity != Encoding::Granularity::kNone) graph.edit_value(v).dtype = DType::kF32;
  }

  bool is_product_of(const Node& node, const std::set<WeightId>& weights) const {
    return (node.op == Op::linear || node.op == Op::conv) && graph_.weight_of(node.inputs[1]) &&
           weights.contains(graph_.value(node.inputs[1]).weight);
  }

  // Linear layers that round every token as it comes.
  void round_tokens() {
    int64_t rounded_already = 0;
    for (NodeId n = 0; n < NodeId(graph_.nodes().size()); n++) {
      Node& node = graph_.edit_node(n);
      NodeId maker = graph_.value(node.inputs[0]).producer;
      if (!is_product_of(node, token_weights_)) continue;
      if (rounding_of(node) || (maker >= 0 && graph_.node(maker).op == Op::dequantize)) {
        rounded_already++;
        continue;
      }
      node.attributes.set("activations", std::string("s8"));
      report_.activations.push_back({node.name, "per token", 0});
    }
    if (rounded_already)
      report_.needs_attention.push_back(cat("nothing to do for the inputs of ", rounded_already, " layers, which are rounded already"));
  }

  // Images calibrate fixed scales; without them linear layers round per token and convolutions cannot be rounded.
  void plan_activations(const Line& line, const std::vector<Claim>& claims) {
    const QuantizeLine& text = *line.quantize;
    if (text.activations != "int8") return;
    bool images = !image_input(graph_).empty();
    if (!text.dataset.empty() && !images)
      report_.needs_attention.push_back(cat(line.where,
                                            ": the model takes no images, so its linear layers round per token, which needs no calibration; ",
                                            text.dataset, " was not read"));
    bool fixed = !text.dataset.empty() && images;
    if (fixed && static_line_ && (static_line_->quantize->dataset != text.dataset || static_line_->quantize->method != text.method))
      throw InvalidArgument(
          cat(line.where, ": calibrates on another dataset or by another method than ", static_line_->where, "; one model is calibrated once"));
    if (fixed && !static_line_) static_line_ = &line;
    std::set<WeightId> weights;
    for (auto& claim : claims) {
      const Node& node = graph_.node(claim.use.node);
      if (!fixed && node.op == Op::conv)
        throw InvalidArgument(cat(
            line.where, ": convolution '", node.name,
            "' needs calibrated activations: give --dataset (a folder or archive of CLASS/file.jpg), or leave it out with --targets or --ignore"));
      weights.insert(claim.use.weight);
    }
    if (!fixed)
      token_weights_.insert(weights.begin(), weights.end());
    else
      for (NodeId n = 0; n < NodeId(graph_.nodes().size()); n++)
        if (is_product_of(graph_.node(n), weights)) static_products_.insert(n);
  }

  PrunedWeight describe(WeightId id, const std::vector<Step>& steps) const {
    const Weight& weight = sources_[size_t(id)];
    Weight after = staged(weight, steps);
    const WeightUse& use = uses_.at(id);
    std::string lines;
    for (auto& step : steps) lines += (lines.empty() ? "" : "; ") + step.line->where;
    return {.name = weight.name,
            .layer = graph_.node(use.node).name,
            .op = use.op_type,
            .line = lines,
            .shape = weight.shape,
            .parameters = weight.size(),
            .pattern = after.pattern,
            .format = weight.source->stored_format(),
            .encoding_before = to_string(weight.encoding),
            .encoding = to_string(after.encoding),
            .bytes_before = weight.source->stored_bytes()};
  }

  // The lines of a stage with the weights that they claim.
  using LineClaims = std::vector<std::pair<const Line*, std::vector<Claim>>>;
  struct StageClaims {
    LineClaims prune, quantize;
  };

  LineClaims prune_claims(const Stage& stage) {
    std::vector<Selection> selections;
    for (size_t l = 0; l < stage.prune.size(); l++) {
      const PruneLine& line = stage.prune[l];
      lines_.push_back(std::make_unique<Line>(read_prune_line(line, cat(stage.name, ", line ", l + 1))));
      selections.push_back({lines_.back()->where, line.targets, line.ignore, line.include, line.overrides});
    }
    LineClaims out = with_lines(claim_weights(graph_, selections, reason_against_pruning));
    for (auto& [line, claims] : out) drop_misfits(*line, claims);
    return out;
  }

  LineClaims quantize_claims(const Stage& stage) {
    std::vector<Selection> selections;
    for (size_t l = 0; l < stage.quantize.size(); l++) {
      const QuantizeLine& line = stage.quantize[l];
      lines_.push_back(std::make_unique<Line>(read_quantize_line(line, cat(stage.name, ", quantize line ", l + 1))));
      selections.push_back({lines_.back()->where, line.targets, line.ignore, line.include});
    }
    return with_lines(claim_weights(graph_, selections, reason_against_quantizing));
  }

  // The claims of the lines that were read last.
  LineClaims with_lines(std::vector<std::vector<Claim>> claims) const {
    LineClaims out;
    for (size_t l = 0; l < claims.size(); l++) out.emplace_back(lines_[lines_.size() - claims.size() + l].get(), std::move(claims[l]));
    return out;
  }

  // A weight that cannot carry the pattern stays dense; one that was named is an error.
  void drop_misfits(const Line& line, std::vector<Claim>& claims) {
    std::vector<std::string> misfits;
    std::erase_if(claims, [&](const Claim& claim) {
      const Weight& weight = sources_[size_t(claim.use.weight)];
      MatrixView view(weight.layout, weight.shape);
      auto reason = line.pattern->refuses(view.rows, view.cols, view.inner);
      if (!reason) return false;
      std::string text = cat("'", weight.name, "' ", to_string(weight.shape), " cannot be ", line.pattern->name(), ": ", *reason);
      if (claim.by_name)
        misfits.push_back(text);
      else
        report_.needs_attention.push_back(text + "; it stays dense");
      return true;
    });
    if (!misfits.empty()) throw InvalidArgument(cat(line.where, ": ", join(misfits, "\n")));
    if (claims.empty()) throw InvalidArgument(cat(line.where, ": no weight that it claims can be ", line.pattern->name()));
  }

  void plan_quantization(const Line& line, const std::vector<Claim>& claims) {
    for (auto& claim : claims) quantize_weight_of(claim, line);
    plan_activations(line, claims);
  }

  void quantize_weight_of(const Claim& claim, const Line& line) {
    WeightId id = claim.use.weight;
    const Weight& weight = sources_[size_t(id)];
    if (graph_.node(claim.use.node).op == Op::conv_transpose)
      throw InvalidArgument(cat(line.where, ": '", weight.name, "' is of a transposed convolution, which stays in floats"));
    bool int4 = line.quantize->weights == "int4" && claim.use.op_type == "Linear" && claim.use.prunable;
    WeightScheme scheme = int4 ? WeightScheme{DType::kS4, line.quantize->group_size} : WeightScheme{};
    auto& steps = plan_[id];
    Weight before = staged(weight, steps);
    if (!is_float(before.encoding.values) && before.encoding.granularity == Encoding::Granularity::kNone)
      throw InvalidArgument(cat(line.where, ": '", weight.name, "' holds plain integers, ", name_of(before.encoding.values)));
    uses_[id] = claim.use;
    bool coded = !is_float(before.encoding.values) && bits_of(before.encoding.values) <= bits_of(scheme.type);
    if (before.encoding != encoding_of(scheme) && (!coded || line.quantize->requantize))
      steps.push_back({.line = &line, .scheme = scheme});
    else if (before.encoding == encoding_of(scheme))
      coded_.push_back(cat("'", weight.name, "'"));
    else
      narrow_.push_back(cat("'", weight.name, "' (", to_string(before.encoding), ")"));
    if (steps.empty()) plan_.erase(id);
  }

  void plan_pruning(const Line& line, const std::vector<Claim>& claims) {
    std::vector<Weight> weights;
    for (auto& claim : claims) {
      WeightId id = claim.use.weight;
      uses_[id] = claim.use;
      auto it = plan_.find(id);
      weights.push_back(it == plan_.end() ? sources_[size_t(id)] : staged(sources_[size_t(id)], it->second));
    }
    std::vector<PruneTarget> targets;
    for (size_t i = 0; i < claims.size(); i++) targets.push_back({&weights[i], claims[i].override_sparsity});
    PruneSettings settings = line.settings;
    if (report_.dry_run && allocation_named(settings.allocation).needs_scores)
      settings.allocation = "uniform";  // the request is checked all the same
    std::vector<int64_t> kept = plan_units(targets, settings, progress_);
    for (size_t i = 0; i < claims.size(); i++)
      plan_[claims[i].use.weight].push_back({.line = &line, .kept_units = kept[i], .asked = asked(line, claims[i].override_sparsity)});
  }

  // The largest that a step asks for, zeros that are there already aside.
  std::optional<double> planned_sparsity(WeightId id, std::span<const Step> steps) const {
    std::optional<double> most;
    MatrixView view(sources_[size_t(id)].layout, sources_[size_t(id)].shape);
    for (auto& step : steps) {
      if (!step.line->prune) continue;
      if (!step.asked && allocation_named(step.line->settings.allocation).needs_scores) return std::nullopt;
      const Pattern& pattern = *step.line->pattern;
      double units = double(pattern.unit_rows(view.rows) * pattern.unit_cols(view.cols, view.inner));
      most = std::max(most.value_or(0), units > 0 ? 1 - double(step.kept_units) / units : 0);
    }
    return most;
  }

  // nullopt: the allocation decides.
  static std::optional<double> asked(const Line& line, std::optional<double> override_sparsity) {
    if (auto fixed = line.pattern->fixed_sparsity()) return fixed;
    if (override_sparsity) return override_sparsity;
    return line.settings.allocation == "uniform" ? line.settings.sparsity : std::nullopt;
  }

  // What a user should know of the request before trusting the result.
  void remark() {
    bool convolutions = false, batch_norm = false;
    for (auto& node : graph_.nodes()) {
      convolutions |= node.op == Op::conv;
      batch_norm |= node.op == Op::batch_norm;
    }
    if (!narrow_.empty())
      report_.needs_attention.push_back(
          cat("left as they are, because they are coded in as few bits already and rounding again would only lose accuracy (--requantize does it): ",
              join(narrow_, ", ", 4)));
    if (!coded_.empty())
      report_.needs_attention.push_back(cat("nothing to do for ", coded_.size(), " weights, which are coded just as asked: ", join(coded_, ", ", 4)));
    for (auto& line : lines_) {
      if (!line->prune) continue;
      const PruneSettings& s = line->settings;
      if (convolutions && !batch_norm && s.criterion->name == "magnitude" && s.allocation == "global")
        report_.needs_attention.push_back(
            cat(line->where,
                ": batch norm is folded into the convolutions of this export, so the scales of different layers do not compare and global "
                "magnitude takes too much from some; uniform or erk allocation, criterion lamp, or an export that keeps batch norm do better"));
      double sparsity = s.sparsity.value_or(line->pattern->fixed_sparsity().value_or(0));
      for (auto& o : line->prune->overrides) sparsity = std::max(sparsity, o.sparsity);
      if (sparsity > 0.7)
        report_.needs_attention.push_back(cat(line->where, ": ", sparsity * 100, " % in one shot is beyond what ", s.criterion->name,
                                              " usually survives without retraining (50 to 70 %); measure with `lacuna eval`"));
    }
  }

  Graph& graph_;
  std::vector<Weight> sources_;  // as they came, by id
  WeightId own_weights_;         // that the model came with; behind them scales of activations
  PruneReport& report_;
  Progress* progress_;
  std::vector<std::unique_ptr<Line>> lines_;
  Plan plan_;
  std::map<WeightId, WeightUse> uses_;
  std::set<WeightId> token_weights_;                                                         // of linear layers that round every token
  std::set<NodeId> static_products_;                                                         // linear and conv whose inputs get calibrated scales
  const Line* static_line_ = nullptr;                                                        // that says how
  std::vector<std::string> grown_;                                                           // weights that take more bytes than before
  std::map<std::tuple<const Line*, double, std::string>, std::vector<std::string>> missed_;  // line, asked, why -> found where
  std::vector<std::string> coded_;                                                           // weights that a quantize line found coded as it says
  std::vector<std::string> narrow_;  // weights that a quantize line found coded in as few bits
};

// Changes when a file of the model does.
std::string fingerprint(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  for (auto& file : model_files(path)) {
    std::filesystem::path real = std::filesystem::canonical(file);
    lines.push_back(cat(real, " ", std::filesystem::file_size(real), " ", std::filesystem::last_write_time(real).time_since_epoch().count()));
  }
  return hash_hex(join(lines, "\n"));
}

// All that was done to a model: a Lacuna directory knows what was done before.
Recipe whole_recipe(const Model& model, const Recipe& recipe) {
  Recipe whole;
  if (model.kind == ModelKind::kLacuna)
    if (auto before = read_lacuna_text(model.path, "recipe.yaml")) whole = parse_recipe(*before, (model.path / "recipe.yaml").string());
  whole.stages.insert(whole.stages.end(), recipe.stages.begin(), recipe.stages.end());
  return whole;
}

std::vector<Choice> choices_of(auto&& table) {
  std::vector<Choice> out;
  for (auto& entry : table) out.push_back({std::string(entry.name), std::string(entry.help), std::string(entry.source)});
  return out;
}

}  // namespace

PruneReport sparsify(const std::filesystem::path& path, const Recipe& recipe, const std::filesystem::path& output, const SparsifyOptions& options,
                     Progress* progress) {
  auto start = std::chrono::steady_clock::now();
  if (recipe.stages.empty()) throw InvalidArgument("the recipe has no stage");
  if (!options.dry_run) check_replaceable_by_directory(output, options.force, path);
  PruneReport report{.model = path.string(), .output = output.string(), .dry_run = options.dry_run};
  Model model = load_model(path);
  Driver driver(*model.graph, recipe, report, progress);
  if (options.dry_run) {
    driver.list_claims();
    return report;
  }
  driver.calibrate_activations();
  std::string yaml = to_yaml(recipe);
  std::string job = cat("sparsify ", fingerprint(path), " ", hash_hex(yaml + driver.calibration_hash()), " ", LACUNA_VERSION);
  LacunaWriter writer(output, *model.graph, model.source_kind, options.force, job);
  driver.write(writer);
  writer.add_assets(model);
  writer.add_file("recipe.yaml", to_yaml(whole_recipe(model, recipe)));
  // The same request writes the same bytes, so the file says neither where nor how long.
  PruneReport lasting = report;
  lasting.output.clear();
  lasting.model = std::filesystem::canonical(path).filename().string();
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
