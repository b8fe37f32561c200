#include "runtime/packs.h"

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/parallel.h"
#include "graph/infer.h"
#include "kernels/dispatch.h"
#include "lacuna/error.h"
#include "runtime/weight_codes.h"
#include "sparse/pattern.h"

namespace lacuna {

using kernels::ConvKernel;
using kernels::ConvProblem;
using kernels::LinearKernel;
using kernels::LinearProblem;
using kernels::PackedConv;
using kernels::PackedLinear;
using kernels::WeightMatrix;

// In matrix order.
struct PackStore::Matrix {
  WeightId id;
  std::string weight_name;
  int64_t rows = 0, cols = 0, inner = 0;
  DType stored = DType::kF32;  // a float type that holds the values exactly
  Tensor values;               // f32
  std::optional<WeightCodes> codes;
  bool tried_codes = false;
  Mask mask;
  std::string pattern = "dense";
  double sparsity = 0;
  bool pruned = false;  // the source has a mask

  WeightMatrix view(DType type) const {
    WeightMatrix m{.rows = rows, .cols = cols, .mask = pattern == "dense" ? nullptr : &mask, .inner = inner};
    // With minima a pruned weight has no code: only the mask makes it zero, however few there are.
    if (!is_float(type) && pruned && !codes->minima.empty()) m.mask = &mask;
    if (is_float(type)) {
      m.values = values.data<float>().data();
    } else {
      m.codes = codes->codes.data<int8_t>().data(), m.scales = codes->scales.data(), m.group = codes->group;
      m.minima = codes->minima.empty() ? nullptr : codes->minima.data();
    }
    return m;
  }
};

namespace {

constexpr double kFewZeros = 0.1;  // below this share of zeros a weight is dense

}  // namespace

std::shared_ptr<const PackStore::Matrix> PackStore::decoded(const Node& node, bool with_codes) {
  WeightId id = graph_.value(node.inputs[1]).weight;
  if (last_ && last_->id == id && (last_->tried_codes || !with_codes)) return last_;
  last_.reset();
  Weight weight = graph_.weights[id];
  if (node.op == Op::conv_transpose)  // [in, out, kernel]: a row for each tap of each output channel
    weight.layout = MatrixLayout::kInOut, weight.shape = {weight.shape[0], element_count(std::span(weight.shape).subspan(1))};
  if (weight.layout == MatrixLayout::kNone)
    weight.layout = node.op == Op::conv ? MatrixLayout::kConv : linear_is_in_out(graph_, node) ? MatrixLayout::kInOut : MatrixLayout::kOutIn;
  auto matrix = std::make_shared<Matrix>();
  MatrixView view(weight.layout, weight.shape);
  matrix->id = id, matrix->weight_name = weight.name;
  matrix->rows = view.rows, matrix->cols = view.cols, matrix->inner = view.inner == view.cols ? 0 : view.inner;
  WeightData data = weight.load();
  constexpr int64_t kRowsPerTile = 64;
  int64_t tiles = (view.rows + kRowsPerTile - 1) / kRowsPerTile, inner = view.inner;
  if (!view.identity() && bits_of(data.values.dtype()) == 8) {  // turned once, for values and codes
    Tensor turned(data.values.dtype(), {view.rows, view.cols}, false);
    std::byte* to = turned.mutable_raw();
    parallel_for(tiles, [&](int64_t tile) {
      int64_t first = tile * kRowsPerTile, count = std::min(kRowsPerTile, view.rows - first);
      std::vector<std::byte> scratch;
      std::copy_n(code_rows(data.values, view, first, count, scratch).data, count * view.cols, to + first * view.cols);
    });
    data.values = turned;
    weight.shape = {view.rows, view.cols}, weight.layout = MatrixLayout::kOutIn;
    view = MatrixView(weight.layout, weight.shape);
  }
  matrix->values = Tensor(DType::kF32, {view.rows, view.cols}, false);
  matrix->mask = Mask(view.rows, view.cols, false);
  float* values = matrix->values.mutable_data<float>().data();
  parallel_for(tiles, [&](int64_t tile) {
    int64_t first = tile * kRowsPerTile, last = std::min(first + kRowsPerTile, view.rows);
    decode_rows(weight, data, first, last - first, values + first * view.cols);
    for (int64_t r = first; r < last; r++) keep_nonzero(values + r * view.cols, matrix->mask, r);
  });
  matrix->sparsity = matrix->mask.sparsity();
  if (options_.allow_sparse && matrix->sparsity >= kFewZeros) {
    matrix->pattern = weight.pattern.empty() ? recognise_pattern(matrix->mask, inner) : weight.pattern;
  } else {
    matrix->sparsity = 0;
  }
  bool plain = weight.encoding.granularity == Encoding::Granularity::kNone;
  if (plain && (weight.encoding.values == DType::kF16 || weight.encoding.values == DType::kBF16)) matrix->stored = weight.encoding.values;
  const Mask* mask = matrix->pattern != "dense" ? &matrix->mask : nullptr;
  matrix->tried_codes = with_codes, matrix->pruned = data.mask.has_value();
  bool integers = with_codes || options_.compute == DType::kS8;  // else floats meet the codes: exact, so a code counts unless the source has a mask
  if (!floats_only() && (with_codes || node.op == Op::linear))
    matrix->codes = stored_codes(weight, data, view, integers ? mask : matrix->pruned ? &matrix->mask : nullptr);
  if (options_.compute == DType::kS8 && (with_codes || node.op == Op::linear) && !matrix->codes)
    matrix->codes = codes_of(weight, data, view, matrix->values, mask);
  weight.source->drop();
  last_ = matrix;
  return matrix;
}

// [rows, depth, h, w, in] to [rows, h, w, depth, in]. Patterns along the input channels, which began anew at each tap, begin anew at each `depth` of
// them.
std::shared_ptr<const PackStore::Matrix> PackStore::in_slices(const Matrix& volume, int64_t depth, int64_t in) {
  auto matrix = std::make_shared<Matrix>(volume);
  const int64_t rows = volume.rows, cols = volume.cols, taps = cols / (depth * in);
  auto turned = [&](const Tensor& from) {
    Tensor to(from.dtype(), from.shape(), false);
    const size_t run = size_t(in * bits_of(from.dtype()) / 8);
    parallel_for(rows, [&, x = from.raw(), y = to.mutable_raw()](int64_t r) {
      for (int64_t d = 0; d < depth; d++)
        for (int64_t t = 0; t < taps; t++)
          std::copy_n(x + size_t((r * depth + d) * taps + t) * run, run, y + size_t((r * taps + t) * depth + d) * run);
    });
    return to;
  };
  matrix->values = turned(volume.values);
  matrix->inner = depth * in == cols ? 0 : depth * in;
  matrix->mask = Mask(rows, cols, false);
  parallel_for(rows, [&, values = matrix->values.data<float>().data()](int64_t r) { keep_nonzero(values + r * cols, matrix->mask, r); });
  if (matrix->pattern != "dense") matrix->pattern = recognise_pattern(matrix->mask, depth * in);
  if (matrix->codes && matrix->codes->group != 0) matrix->codes.reset();  // scales of columns, which no kernel of convolutions takes
  if (matrix->codes) matrix->codes->codes = turned(matrix->codes->codes);
  return matrix;
}

// A choice that was made before keeps its line.
template <class Kernel>
int64_t PackStore::add_line(const Node& node, const Matrix& matrix, std::string problem, const Choice<Kernel>& chosen, int64_t bytes,
                            int activation_bits) {
  kernels::trace_dispatch(cat("dispatch: ", node.name, ": ", problem, ": ", chosen.kernel->name, " chosen: ", chosen.reason));
  auto same = [&](const PlanLine& line) { return line.node == node.name && line.problem == problem && line.kernel == chosen.kernel->name; };
  if (auto it = std::find_if(plan_.begin(), plan_.end(), same); it != plan_.end()) return it - plan_.begin();
  plan_.push_back({.node = node.name,
                   .weight = matrix.weight_name,
                   .problem = std::move(problem),
                   .kernel = std::string(chosen.kernel->name),
                   .format = kernels::packed_format(chosen.kernel->name),
                   .sparse = chosen.kernel->sparse,
                   .packed_bytes = bytes,
                   .activation_bits = activation_bits,
                   .dense_us = chosen.dense_us,
                   .sparse_us = chosen.sparse_us,
                   .reason = chosen.reason});
  return int64_t(plan_.size()) - 1;
}

std::string PackStore::of_threads() const { return options_.measured_plan ? cat(" threads=", thread_count()) : ""; }

PackStore::Pack<PackedLinear> PackStore::linear(const Node& node, int64_t tokens, const InputRounding& rounding) {
  WeightId id = graph_.value(node.inputs[1]).weight;
  // Decode and batched calls may want different kernels; what batched calls want does not depend on their size in the fixed plan.
  int64_t size_class = options_.measured_plan ? tokens_class(tokens) : tokens <= 8 * items_ ? 1 : 64;
  auto [choice, fresh] = linear_choices_.try_emplace(
      {id, cat("n=", size_class, " x=", int(rounding.kind), "/", rounding.scale, "/", rounding.signed_zero(), of_threads())});
  auto pack_of = [&](const Chosen<LinearProblem>& c) {
    return Pack<PackedLinear>{linears_.at({id, c.packed}), c.rounds, c.problem.to_string(tokens), c.line};
  };
  if (!fresh) return pack_of(choice->second);
  std::shared_ptr<const Matrix> matrix = decoded(node, bool(rounding));
  LinearProblem problem{.rows = matrix->rows, .cols = matrix->cols, .pattern = matrix->pattern, .sparsity = matrix->sparsity};
  auto choose = [&](DType weights, DType activations) {
    problem.weights = weights, problem.activations = activations;
    bool integers = !is_float(weights);
    problem.group = integers ? matrix->codes->group : 0, problem.minima = integers && !matrix->codes->minima.empty();
    bool calibrated = integers && rounding.kind == InputRounding::Kind::kStatic;
    problem.input_scale = calibrated ? rounding.scale : 0, problem.input_zero = calibrated ? rounding.signed_zero() : 0;
    return options_.measured_plan ? measured_choice(problem, matrix->view(weights), size_class, model_weights_) : static_choice(problem, size_class);
  };
  // The arithmetic asked for; else the weights as they are stored (fewer bytes), then f32; the reference kernel only if nothing else.
  const LinearKernel* reference = &kernels::linear_kernels().back();
  Choice<LinearKernel> chosen{reference, ""};
  bool integers = matrix->codes && (rounding || options_.compute == DType::kS8);
  if (integers) chosen = choose(matrix->codes->type, DType::kS8);
  if (options_.compute == DType::kBF16) chosen = choose(DType::kBF16, DType::kBF16);
  if (options_.compute == DType::kBF16 && chosen.kernel == reference) chosen = choose(DType::kBF16, DType::kF32);
  if (!floats_only() && chosen.kernel == reference && matrix->stored != DType::kF32) chosen = choose(matrix->stored, DType::kF32);
  if (chosen.kernel == reference && matrix->codes) chosen = choose(matrix->codes->type, DType::kF32);
  if (chosen.kernel == reference) {
    chosen = choose(DType::kF32, DType::kF32);
  } else if (matrix->codes && problem.activations == DType::kF32 && matrix->pattern != "dense") {
    // Dense codes against floats of which the zeros are skipped.
    LinearProblem with_codes = problem;
    Choice<LinearKernel> sparse = choose(DType::kF32, DType::kF32);
    if (sparse.kernel->sparse && sparse.sparse_us > 0 && sparse.sparse_us * kWorthwhile < chosen.dense_us)
      chosen = sparse;
    else
      problem = with_codes;
  }
  choice->second = {cat(chosen.kernel->name, " ", name_of(problem.weights), " ", problem.input_scale, " ", problem.input_zero),
                    problem.activations == DType::kS8, problem};
  auto& packed = linears_[{id, choice->second.packed}];
  if (!packed) packed = chosen.kernel->pack(problem, matrix->view(problem.weights));
  choice->second.line = add_line(node, *matrix, problem.to_string(size_class), chosen, packed->size_bytes());
  return pack_of(choice->second);
}

// What a choice of a convolution holds for: its sizes too if it was measured.
std::string PackStore::geometry_of(const ConvProblem& problem, int64_t batch, int64_t in_h, int64_t in_w, const InputRounding& rounding) const {
  bool measured = options_.measured_plan;
  return cat(problem.to_string(measured ? batch : 1, measured ? in_h : 0, measured ? in_w : 0), " x=", rounding.scale, "/", rounding.signed_zero(),
             of_threads());
}

PackStore::Pack<PackedConv> PackStore::conv(const Node& node, ConvProblem problem, int64_t batch, int64_t in_h, int64_t in_w,
                                            const InputRounding& rounding, bool in_planes) {
  WeightId id = graph_.value(node.inputs[1]).weight;
  in_planes = in_planes && options_.measured_plan;
  std::string geometry = geometry_of(problem, batch, in_h, in_w, rounding);
  auto [choice, fresh] = conv_choices_.try_emplace({id, cat(in_planes ? "planes " : "", geometry)});
  auto pack_of = [&](const Chosen<ConvProblem>& c) {
    return Pack<PackedConv>{convs_.at({id, c.packed}), c.rounds, c.problem.to_string(batch, in_h, in_w), c.line};
  };
  if (!fresh) return pack_of(choice->second);
  std::shared_ptr<const Matrix> matrix = decoded(node, bool(rounding));
  if (int64_t in = graph_.weights[id].shape[1], slices = problem.in_channels / problem.groups; node.op == Op::conv && slices != in)
    matrix = in_slices(*matrix, slices / in, in);
  problem.pattern = matrix->pattern, problem.sparsity = matrix->sparsity;
  auto choose = [&](DType type) {
    problem.weights = problem.activations = type;
    problem.input_scale = type == DType::kS8 ? rounding.scale : 0, problem.input_zero = type == DType::kS8 ? rounding.signed_zero() : 0;
    return options_.measured_plan ? measured_choice(problem, matrix->view(type), batch, in_h, in_w, model_weights_,
                                                    in_planes ? ConvValues::kPlanes : ConvValues::kFloats)
                                  : static_choice(problem);
  };
  const ConvKernel* reference = &kernels::conv_kernels().back();
  Choice<ConvKernel> chosen{reference, ""};
  bool integers = rounding && matrix->codes && matrix->codes->type == DType::kS8 && matrix->codes->group == 0 && matrix->codes->minima.empty();
  if (integers) chosen = choose(DType::kS8);
  if (chosen.kernel == reference) chosen = choose(DType::kF32);
  choice->second = {cat(chosen.kernel->name, " ", geometry), problem.activations == DType::kS8, problem};
  auto& packed = convs_[{id, choice->second.packed}];
  if (!packed) packed = chosen.kernel->pack(problem, matrix->view(problem.weights));
  choice->second.line = add_line(node, *matrix, problem.to_string(batch, in_h, in_w), chosen, packed->size_bytes());
  return pack_of(choice->second);
}

PackStore::Pack<PackedConv> PackStore::conv_of_codes(const Node& node, ConvProblem problem, int64_t batch, int64_t in_h, int64_t in_w,
                                                     const InputRounding& rounding) {
  if (floats_only()) return {};
  WeightId id = graph_.value(node.inputs[1]).weight;
  problem.weights = problem.activations = DType::kS8;
  problem.input_scale = rounding.scale, problem.input_zero = rounding.signed_zero();
  std::string key = cat("codes ", geometry_of(problem, batch, in_h, in_w, rounding));
  auto [choice, fresh] = conv_choices_.try_emplace({id, key});
  auto& chosen = choice->second;
  auto pack_of = [&] { return Pack<PackedConv>{convs_.at({id, chosen.packed}), true, chosen.problem.to_string(batch, in_h, in_w), chosen.line}; };
  if (!fresh) return chosen.packed.empty() ? Pack<PackedConv>() : pack_of();
  auto candidates = kernels::conv_kernels();
  if (std::none_of(candidates.begin(), candidates.end(), [&](auto& k) { return !kernels::refusal(k, problem, true); })) return {};
  std::shared_ptr<const Matrix> matrix = decoded(node, true);
  if (!matrix->codes || matrix->codes->type != DType::kS8 || matrix->codes->group || !matrix->codes->minima.empty()) return {};
  problem.pattern = matrix->pattern, problem.sparsity = matrix->sparsity;
  kernels::WeightMatrix weight = matrix->view(DType::kS8);
  Choice<ConvKernel> choice_made =
      options_.measured_plan ? measured_choice(problem, weight, batch, in_h, in_w, model_weights_, ConvValues::kCodes) : static_choice(problem, true);
  chosen = {cat(choice_made.kernel->name, " ", key), true, problem};
  auto& packed = convs_[{id, chosen.packed}];
  packed = choice_made.kernel->pack(problem, weight);
  chosen.line = add_line(node, *matrix, problem.to_string(batch, in_h, in_w), choice_made, packed->size_bytes(), 8);
  return pack_of();
}

void PackStore::drop_unused() {
  auto drop = [](auto& packs, auto& choices) {
    std::erase_if(packs, [](auto& entry) { return entry.second.use_count() == 1; });
    std::erase_if(choices, [&](auto& entry) {
      const std::string& packed = entry.second.packed;
      return !packed.empty() && !packs.contains({entry.first.first, packed});
    });
  };
  drop(linears_, linear_choices_);
  drop(convs_, conv_choices_);
}

int64_t PackStore::packed_bytes() const {
  int64_t total = 0;
  for (auto& [key, packed] : linears_) total += packed->size_bytes();
  for (auto& [key, packed] : convs_) total += packed->size_bytes();
  return total;
}

}  // namespace lacuna
