#include "lacuna/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "api/sample_inputs.h"
#include "base/cat.h"
#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "lacuna/error.h"
#include "runtime/session.h"
#include "sparse/format.h"
#include "sparse/pattern.h"

namespace lacuna {
namespace {

// Shape constants of a source graph: an export may fold them away or make others.
bool is_shape_constant(const Weight& weight) { return weight.layout == MatrixLayout::kNone && is_integer(weight.encoding.values); }

// Scales and zero points of rounded activations, which quantization adds.
bool is_rounding_parameter(const Graph& graph, const Weight& weight) {
  if (weight.size() != 1) return false;
  for (auto& node : graph.nodes())
    for (size_t i = 0; i < node.inputs.size(); i++)
      if (graph.weight_of(node.inputs[i]) == &weight && (i == 0 || (node.op != Op::quantize && node.op != Op::dequantize))) return false;
  return true;
}

// The step of the rounding of a weight by position: what a code is multiplied by.
class Steps {
 public:
  Steps(const Encoding& encoding, const WeightData& data, int64_t cols)
      : encoding_(encoding), scales_(data.scales.to(DType::kF32)), groups_(encoding.group ? (cols + encoding.group - 1) / encoding.group : 1) {}
  double at(int64_t row, int64_t col) const {
    using enum Encoding::Granularity;
    int64_t i = encoding_.granularity == kTensor ? 0 : encoding_.granularity == kRow ? row : row * groups_ + col / encoding_.group;
    return std::abs(double(scales_.data<float>()[size_t(i)]));
  }
  // Rounding to nearest is off by half a step; where a scale was searched, codes at the end of a 4-bit range may be off by more.
  double bound() const { return bits_of(encoding_.values) == 4 ? 2 : 0.501; }

 private:
  const Encoding& encoding_;
  Tensor scales_;
  int64_t groups_;
};

// A weight that is laid out as another matrix, or as none, as floats of this layout; a mask shows in its zeros alone then.
Weight laid_out_as(MatrixLayout layout, const Weight& weight) {
  return {.name = weight.name, .shape = weight.shape, .layout = layout, .source = in_memory({.values = decode_f32(weight, weight.load())})};
}

// Counts of one weight against its original (nullptr: alone), of the same layout.
VerifiedWeight check_weight(const Weight& weight, const Weight* original) {
  VerifiedWeight out{.name = weight.name, .pattern = weight.pattern, .encoding = to_string(weight.encoding), .parameters = weight.size()};
  MatrixView view(weight.layout, weight.shape);
  WeightData data = weight.load(), before = original ? original->load() : WeightData{};
  Mask mask = data.mask ? *data.mask : Mask(view.rows, view.cols, true);
  std::vector<float> row(size_t(view.cols)), old(size_t(view.cols));
  out.quantized = original && weight.encoding != original->encoding && weight.encoding.granularity != Encoding::Granularity::kNone;
  std::optional<Steps> steps;
  if (out.quantized) steps.emplace(weight.encoding, data, view.cols);
  for (int64_t r = 0; r < view.rows; r++) {
    decode_rows(weight, data, r, 1, row.data());
    if (original) decode_rows(*original, before, r, 1, old.data());
    for (int64_t c = 0; c < view.cols; c++) {
      float value = row[size_t(c)];
      // A dense file with zeros has no mask: a zero that was none before has been removed, unless it was rounded to zero.
      if (!data.mask && value == 0 && !(steps && old[size_t(c)] != 0)) mask.set(r, c, false);
      if (!mask.kept(r, c)) {
        // A mask makes the zero.
      } else if (steps) {
        double step = steps->at(r, c), off = std::abs(double(value) - old[size_t(c)]);
        if (step > 0) out.largest_rounding = std::max(out.largest_rounding, off / step);
        out.changed_kept += off > steps->bound() * step + 1e-30;
      } else if (original) {
        out.changed_kept += std::memcmp(&value, &old[size_t(c)], 4) != 0;
      }
      if (before.mask) {
        bool was_kept = before.mask->kept(r, c);
        out.revived += !was_kept && mask.kept(r, c);
        out.same_mask &= was_kept == mask.kept(r, c);
      }
    }
  }
  out.zeros = view.rows * view.cols - mask.count_kept();
  out.sparsity = mask.sparsity();
  if (out.pattern.empty() && out.zeros) out.pattern = recognise_pattern(mask, view.inner);
  if (!weight.pattern.empty() && weight.pattern != "dense") out.violations = parse_pattern(weight.pattern)->violations(mask, view.inner);
  out.was_pruned = before.mask && before.mask->count_kept() < weight.size();
  weight.source->drop();
  if (original) original->source->drop();
  return out;
}

bool same_plain_weight(const Weight& a, const Weight& b) {
  Tensor x = decode_f32(a, a.load()), y = decode_f32(b, b.load());
  return x.shape() == y.shape() && (x.size_bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.size_bytes()) == 0);
}

// The largest differences over all outputs, but for shapes of those `counted`; throws where one is missing.
void compare(const TensorMap& want, const TensorMap& got, const std::set<std::string>& counted, double& worst, double& relative) {
  for (auto& [name, tensor] : want) {
    auto it = got.find(name);
    if (it == got.end()) throw InvalidData(cat("output '", name, "' is missing"));
    if (counted.contains(name) && it->second.shape() != tensor.shape()) continue;
    worst = std::max(worst, absolute_error(it->second, tensor));
    relative = std::max(relative, relative_error(it->second, tensor));
  }
}

std::vector<std::string> input_names(const Graph& graph) {
  std::vector<std::string> names;
  for (ValueId id : graph.inputs()) names.push_back(graph.value(id).name);
  return names;
}

std::set<Op> ops_of(const Graph& graph) {
  std::set<Op> ops;
  for (auto& node : graph.nodes()) ops.insert(node.op);
  return ops;
}

// The original with the weights of the model; nullptr where those do not fit, or where the model rounds activations, which is meant to
// change outputs.
std::shared_ptr<Graph> with_weights_of(const Graph& original, const Graph& model) {
  if (ops_of(model).contains(Op::quantize) != ops_of(original).contains(Op::quantize)) return nullptr;
  for (auto& node : model.nodes())
    if (node.op == Op::linear && node.attributes.has("activations")) return nullptr;
  auto graph = std::make_shared<Graph>(original);
  for (WeightId id = 0; id < WeightId(graph->weights.size()); id++) {
    WeightId other = model.weights.find(graph->weights[id].name);
    if (other < 0) continue;
    const Weight& weight = model.weights[other];
    if (weight.shape != graph->weights[id].shape || weight.encoding != graph->weights[id].encoding) return nullptr;
    graph->weights.edit(id) = weight;
  }
  return graph;
}

void compare_outputs(const Model& original, const Model& model, const VerifyOptions& options, VerifyReport& report) {
  if (auto wanted = input_names(*original.graph), found = input_names(*model.graph); wanted != found) {
    report.problems.push_back(cat(report.model, " takes ", join(found), "; ", report.original, " takes ", join(wanted)));
    return;
  }
  bool decoder = !model.graph->states().empty();
  constexpr int64_t kTokens = 16;
  Bindings bindings = bind_symbols(*original.graph, options.dimensions, 1, kTokens);
  TensorMap inputs = sample_inputs(*original.graph, bindings, options.seed);
  auto outputs_of = [&](const std::shared_ptr<Graph>& graph) {
    Session session(graph, {.max_tokens = decoder ? kTokens : 0});
    return run_on_samples(session, inputs, bindings);
  };
  TensorMap got = outputs_of(model.graph);
  for (auto& [name, tensor] : got)
    if (tensor.dtype() == DType::kF32 && std::ranges::any_of(tensor.data<float>(), [](float v) { return std::isnan(v); }))
      report.problems.push_back(cat("output '", name, "' holds NaN on seeded inputs"));
  std::set<std::string> counted;  // as many as the values decide: detections above a threshold
  std::vector<Fact> facts = infer_facts(*original.graph, bindings);
  for (auto& output : original.graph->outputs())
    if (auto& shape = facts[size_t(output.value)].shape; !shape || !constant_shape(*shape)) counted.insert(output.name);
  double worst = 0, relative = 0;
  try {
    compare(outputs_of(original.graph), got, counted, worst, relative);
    // Whatever the weights do to the outputs, the layers between them must be those of the original.
    if (auto graph = with_weights_of(*original.graph, *model.graph)) {
      double ignored = 0, other = 0;
      compare(outputs_of(graph), got, counted, ignored, other);
      constexpr double kTolerance = 1e-3;  // of other kernels and other orders of summation
      if (!(other <= kTolerance))
        report.problems.push_back(cat("the layers differ: the original's, with the weights of ", report.model, ", give outputs that differ by ",
                                      other * 100, " % of the largest"));
    }
  } catch (const InvalidData& error) {
    report.problems.push_back(error.what());
  }
  report.max_output_difference = worst;
  report.relative_output_difference = relative;
  if (!std::isfinite(worst)) report.problems.push_back("outputs on seeded inputs are not finite or have other shapes");
}

// Whether a name is of matrices in both; true if `a` has none.
bool shares_a_matrix(const Graph& a, const Graph& b) {
  int64_t matrices = 0, shared = 0;
  for (const Weight& weight : a.weights)
    if (weight.layout != MatrixLayout::kNone) matrices++, shared += b.weights.find(weight.name) >= 0;
  return matrices == 0 || shared > 0;
}

}  // namespace

VerifyReport verify(const std::filesystem::path& original_path, const std::filesystem::path& path, const VerifyOptions& options, Progress* progress) {
  VerifyReport report{.original = original_path.string(), .model = path.string()};
  bool with_original = !original_path.empty();
  if (detect_model(path) == ModelKind::kLacuna) report.problems = verify_hashes(path);
  if (!report.problems.empty()) return report;  // damaged bytes: nothing read from them is worth reporting
  Model model = load_model(path), original = with_original ? load_model(original_path) : Model{};
  const Graph& graph = *model.graph;
  if (with_original && !shares_a_matrix(graph, *original.graph)) {
    report.problems.push_back(cat("no name of a weight is in both models, so that nothing can be held against ", original_path,
                                  ": another tool may have renamed them, as quantizers do; `lacuna verify ", path, "` checks the model by itself"));
    return report;
  }
  for (WeightId id = 0; id < WeightId(graph.weights.size()); id++) {
    if (progress) progress->update("verifying", id, graph.weights.size());
    const Weight& weight = graph.weights[id];
    const Weight* before = nullptr;
    if (with_original) {
      WeightId other = original.graph->weights.find(weight.name);
      if (other < 0) {
        if (is_shape_constant(weight) || is_rounding_parameter(graph, weight)) continue;
        report.problems.push_back(cat("'", weight.name, "' is not in ", original_path));
        continue;
      }
      before = &original.graph->weights[other];
      if (before->shape != weight.shape) {
        report.problems.push_back(cat("'", weight.name, "' is ", to_string(weight.shape), ", the original ", to_string(before->shape)));
        continue;
      }
    }
    if (weight.layout == MatrixLayout::kNone) {
      if (before && !same_plain_weight(weight, *before)) {
        report.problems.push_back(cat("'", weight.name, "' differs from the original"));
        report.changed_outside_mask++;
      }
      continue;
    }
    std::optional<Weight> turned;
    if (before && before->layout != weight.layout) before = &turned.emplace(laid_out_as(weight.layout, *before));
    VerifiedWeight w = check_weight(weight, before);
    if (w.violations) report.problems.push_back(cat("'", w.name, "': ", w.violations, " groups or blocks break ", w.pattern));
    if (w.changed_kept)
      report.problems.push_back(
          cat("'", w.name, "': ", w.changed_kept, " kept weights differ from the original", w.quantized ? " by more than rounding" : ""));
    if (w.revived) report.problems.push_back(cat("'", w.name, "': ", w.revived, " weights that were removed are kept again"));
    report.quantized += w.quantized;
    report.masks += w.was_pruned;
    report.masks_unchanged += w.was_pruned && w.same_mask;
    report.parameters += w.parameters;
    report.zeros += w.zeros;
    report.pattern_violations += w.violations;
    report.changed_outside_mask += w.changed_kept;
    report.weights.push_back(std::move(w));
  }
  if (with_original)
    for (auto& weight : original.graph->weights)
      if (graph.weights.find(weight.name) < 0 && !is_shape_constant(weight))
        report.problems.push_back(cat("'", weight.name, "' of the original is missing"));
  if (with_original && options.run) compare_outputs(original, model, options, report);
  return report;
}

}  // namespace lacuna
