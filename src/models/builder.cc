#include "models/builder.h"

#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "graph/infer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

struct Activation {
  std::string_view name;
  Op op;
  bool tanh_approximation = false;
};
constexpr Activation kActivations[] = {{"silu", Op::silu},
                                       {"swish", Op::silu},
                                       {"gelu", Op::gelu},
                                       {"gelu_python", Op::gelu},
                                       {"gelu_new", Op::gelu, true},
                                       {"gelu_pytorch_tanh", Op::gelu, true},
                                       {"gelu_fast", Op::gelu, true},
                                       {"relu", Op::relu},
                                       {"tanh", Op::tanh},
                                       {"sigmoid", Op::sigmoid},
                                       {"mish", Op::mish}};

bool fits(const Shape& shape, const Shape& wanted) {
  if (shape.size() != wanted.size()) return false;
  for (size_t i = 0; i < shape.size(); i++)
    if (wanted[i] != -1 && shape[i] != wanted[i]) return false;
  return true;
}

std::string known_list(std::initializer_list<std::string_view> known) {
  std::vector<std::string> names(known.begin(), known.end());
  return join(names);
}

}  // namespace

Builder::Builder(Checkpoint checkpoint, std::optional<SentenceHead> sentence) : checkpoint_(std::move(checkpoint)), sentence_(std::move(sentence)) {
  for (size_t i = 0; i < checkpoint_.tensors.size(); i++) tensors_[checkpoint_.tensors[i].name] = i;
}

std::string Builder::architecture(std::string_view fallback) const {
  auto names = config().texts("architectures");
  return names.empty() ? std::string(fallback) : names.front();
}

bool Builder::is_headless() const {
  std::string name = architecture("");
  return name.ends_with("Model") && !name.ends_with("LMHeadModel");
}

void Builder::unknown_architecture(std::initializer_list<std::string_view> known) const {
  throw Unsupported(cat(config().source(), ": architectures names '", architecture("nothing"), "', known for this family are ", known_list(known)));
}

int64_t Builder::layer_count(std::string_view key) const {
  int64_t layers = config().integer(key);
  if (layers > int64_t(tensors_.size()))
    throw InvalidData(cat(config().source(), ": ", key, " is ", layers, ", the checkpoint has only ", tensors_.size(), " tensors"));
  return layers;
}

void Builder::require_divides(std::string_view a_key, int64_t a, std::string_view b_key, int64_t b) const {
  if (a % b != 0) throw InvalidData(cat(config().source(), ": ", b_key, " ", b, " does not divide ", a_key, " ", a));
}

std::string Builder::source_name(std::string_view name) const { return checkpoint_.rename ? checkpoint_.rename(name) : std::string(name); }

std::string Builder::prefix_if_used(std::string_view prefix) const {
  auto it = tensors_.lower_bound(prefix);
  return it != tensors_.end() && it->first.starts_with(prefix) ? std::string(prefix) : "";
}

bool Builder::has(std::string_view name) const { return tensors_.contains(source_name(name)); }

const Shape* Builder::shape_of(std::string_view name) const {
  auto it = tensors_.find(source_name(name));
  return it == tensors_.end() ? nullptr : &checkpoint_.tensors[it->second].shape;
}

bool Builder::is_tied(bool stated, const std::string& head, const std::string& table) const {
  auto own = tensors_.find(source_name(head)), shared = tensors_.find(source_name(table));
  if (!stated || own == tensors_.end() || shared == tensors_.end()) return stated;
  const Weight &a = checkpoint_.tensors[own->second], &b = checkpoint_.tensors[shared->second];
  if (a.shape != b.shape || a.encoding != b.encoding || a.encoding.granularity != Encoding::Granularity::kNone) return stated;
  WeightData mine = a.load(), theirs = b.load();
  if (mine.mask || theirs.mask) return stated;
  constexpr size_t kSample = 16384;
  size_t bytes = mine.values.size_bytes(), count = std::min(bytes, kSample);
  bool same = std::memcmp(mine.values.raw(), theirs.values.raw(), count) == 0 &&
              std::memcmp(mine.values.raw() + bytes - count, theirs.values.raw() + bytes - count, count) == 0;
  a.source->drop(), b.source->drop();
  return same;
}

ValueId Builder::weight(const std::string& name, const Shape& wanted, MatrixLayout layout) {
  std::string source = source_name(name);
  if (auto it = used_.find(source); it != used_.end()) return it->second;
  auto it = tensors_.find(source);
  ValueId value = kNoValue;
  if (it == tensors_.end()) {
    missing_.push_back(cat("'", source, "' ", to_string(wanted)));
  } else if (Weight& tensor = checkpoint_.tensors[it->second]; !fits(tensor.shape, wanted)) {
    misshapen_.push_back(cat("'", source, "' is ", to_string(tensor.shape), ", ", to_string(wanted), " wanted"));
  } else {
    if (!tensor.pattern.empty() && layout == MatrixLayout::kInOut)
      throw Unsupported(cat(config().source(), ": '", source, "' is a compressed [in, out] matrix; [out, in] is read"));
    Weight copy = tensor;
    copy.layout = layout;
    value = graph_->add_weight(graph_->weights.add(std::move(copy)));
  }
  used_.emplace(std::move(source), value);
  return value;
}

ValueId Builder::constant(const std::string& name, const Tensor& value) {
  std::string full = cat(kConstantPrefix, name);
  WeightId id = graph_->weights.find(full);
  if (id < 0) {
    Weight weight{.name = full, .shape = value.shape(), .encoding = {.values = value.dtype()}, .source = in_memory({.values = value})};
    id = graph_->weights.add(std::move(weight));
  }
  return graph_->add_weight(id);
}

ValueId Builder::add(Op op, std::vector<ValueId> inputs, const std::string& name, Attributes attributes) {
  return graph_->add(op, std::move(inputs), std::move(attributes), name, block_);
}

std::vector<ValueId> Builder::split(ValueId x, const std::vector<int64_t>& sizes, const std::string& name) {
  Attributes a;
  a.set("axis", int64_t(-1));
  a.set("split", sizes);
  return graph_->node(graph_->add_node(Op::split, {x}, sizes.size(), std::move(a), name, block_)).outputs;
}

namespace {
ValueId named_input(Graph& graph, const char* name, const char* length = "tokens") {
  for (ValueId v : graph.inputs())
    if (graph.value(v).name == name) return v;
  return graph.add_input(name, DType::kS64, {Dim::symbol("batch"), Dim::symbol(length)});
}
}  // namespace

ValueId Builder::input_ids() { return named_input(*graph_, "input_ids"); }

ValueId Builder::attention_mask() {
  graph_->metadata.insert_or_assign("default:attention_mask", std::string("1"));
  return named_input(*graph_, "attention_mask");
}

ValueId Builder::decoder_mask() {
  graph_->metadata.insert_or_assign("optional:attention_mask", std::string());
  return named_input(*graph_, "attention_mask", "context");
}

ValueId Builder::token_type_ids() {
  graph_->metadata.insert_or_assign("default:token_type_ids", std::string("0"));
  return named_input(*graph_, "token_type_ids");
}

ValueId Builder::embedding(ValueId ids, const std::string& name, int64_t rows, int64_t width) {
  return add(Op::embedding, {ids, weight(name + ".weight", {rows, width}, MatrixLayout::kOutIn)}, name);
}

ValueId Builder::linear(ValueId x, const std::string& name, int64_t in, int64_t out, bool bias, MatrixLayout layout) {
  Shape shape = layout == MatrixLayout::kInOut ? Shape{in, out} : Shape{out, in};
  std::vector<ValueId> inputs = {x, weight(name + ".weight", shape, layout)};
  if (bias) inputs.push_back(weight(name + ".bias", {out}));
  return add(Op::linear, std::move(inputs), name);
}

ValueId Builder::classifier(ValueId x, const std::string& name, int64_t in) {
  const Shape* shape = shape_of(name + ".weight");
  return linear(x, name, in, shape && !shape->empty() ? shape->front() : -1, true);
}

ValueId Builder::layer_norm(ValueId x, const std::string& name, int64_t width, double epsilon) {
  // Checkpoints converted from TensorFlow say gamma and beta.
  bool old = has(name + ".gamma");
  Attributes a;
  a.set("axis", int64_t(-1));
  a.set("epsilon", epsilon);
  return add(Op::layer_norm, {x, weight(name + (old ? ".gamma" : ".weight"), {width}), weight(name + (old ? ".beta" : ".bias"), {width})}, name,
             std::move(a));
}

ValueId Builder::rms_norm(ValueId x, const std::string& name, int64_t width, double epsilon, double scale_offset) {
  Attributes a;
  a.set("epsilon", epsilon);
  if (scale_offset != 0) a.set("scale_offset", scale_offset);
  return add(Op::rms_norm, {x, weight(name + ".weight", {width})}, name, std::move(a));
}

ValueId Builder::head_norm(ValueId x, const std::string& name, const std::string& shape_name, int64_t heads, int64_t head_dim, double epsilon) {
  ValueId apart = constant(shape_name, Tensor::of<int64_t>({4}, std::vector<int64_t>{0, 0, heads, head_dim}));
  ValueId together = constant(shape_name + ".flat", Tensor::of<int64_t>({3}, std::vector<int64_t>{0, 0, heads * head_dim}));
  x = add(Op::reshape, {x, apart}, name + ".heads");
  x = rms_norm(x, name, head_dim, epsilon);
  return add(Op::reshape, {x, together}, name + ".flat");
}

ValueId Builder::activation(ValueId x, const std::string& function, const std::string& name) {
  auto it = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const Activation& a) { return a.name == function; });
  if (it == std::end(kActivations)) {
    std::vector<std::string> known;
    for (auto& a : kActivations) known.emplace_back(a.name);
    throw Unsupported(cat(config().source(), ": the activation is '", function, "', known are ", join(known)));
  }
  Attributes a;
  if (it->op == Op::gelu) a.set("approximate", std::string(it->tanh_approximation ? "tanh" : "none"));
  return add(it->op, {x}, name, std::move(a));
}

ValueId Builder::rope(ValueId x, ValueId positions, const Rope& rope, int64_t heads, int64_t head_dim, const std::string& name) {
  Attributes a;
  a.set("heads", heads);
  a.set("head_dim", head_dim);
  a.set("rotary_dim", rope.rotary_dim);
  a.set("theta", rope.theta);
  if (checkpoint_.interleaved_rope) a.set("interleaved", int64_t(1));
  if (!rope.inv_freq.empty()) a.set("inv_freq", rope.inv_freq);
  if (rope.attention_factor != 1) a.set("attention_factor", rope.attention_factor);
  return add(Op::rope, {x, positions}, name, std::move(a));
}

ValueId Builder::attention(ValueId q, ValueId k, ValueId v, ValueId mask, const AttentionShape& shape, int64_t layer, const std::string& name) {
  std::vector<ValueId> inputs = {q, k, v};
  if (layer >= 0) {
    inputs.push_back(mask);  // over past and new tokens
    for (const char* which : {"k", "v"})
      inputs.push_back(graph_->add_state(cat("layers.", layer, ".", which), DType::kF32,
                                         {Dim::symbol("batch"), Dim(shape.kv_heads), Dim::symbol("capacity"), Dim(shape.head_dim)}));
  } else if (mask != kNoValue) {
    inputs.push_back(mask);
  }
  Attributes a;
  a.set("heads", shape.heads);
  a.set("kv_heads", shape.kv_heads);
  a.set("head_dim", shape.head_dim);
  a.set("scale", shape.scale);
  a.set("causal", int64_t(shape.causal));
  if (shape.window > 0) a.set("window", shape.window);
  if (shape.softcap != 0) a.set("softcap", shape.softcap);
  return add(Op::attention, std::move(inputs), name, std::move(a));
}

void Builder::language_model_outputs(ValueId hidden, const std::string& head, const std::string& embedding, int64_t vocab, int64_t width, bool tied,
                                     bool bias) {
  if (is_headless()) return encoder_outputs(hidden, decoder_mask());
  tied = is_tied(tied, head + ".weight", embedding + ".weight");
  std::vector<ValueId> inputs = {hidden, weight((tied ? embedding : head) + ".weight", {vocab, width}, MatrixLayout::kOutIn)};
  if (bias) inputs.push_back(weight(head + ".bias", {vocab}));
  if (tied) ignore_prefix(head + ".weight");
  graph_->add_output("logits", add(Op::linear, std::move(inputs), head));
}

void Builder::question_answering_outputs(ValueId hidden, int64_t width) {
  auto scores = split(linear(hidden, "qa_outputs", width, 2, true), {1, 1}, "qa_outputs.split");
  Attributes last;
  last.set("axes", std::vector<int64_t>{-1});
  const char* names[] = {"start_logits", "end_logits"};
  for (size_t i = 0; i < 2; i++) graph_->add_output(names[i], add(Op::squeeze, {scores[i]}, names[i], last));
}

void Builder::encoder_outputs(ValueId hidden, ValueId mask) {
  graph_->add_output("last_hidden_state", hidden);
  if (!sentence_) return;
  set_block("sentence");
  Attributes a;
  a.set("mode", sentence_->pooling);
  ValueId pooled = add(Op::token_pool, {hidden, mask}, "pooling", std::move(a));
  for (auto& dense : sentence_->dense) {
    pooled = linear(pooled, dense.name + ".linear", dense.in, dense.out, dense.bias);
    if (!dense.activation.empty()) pooled = activation(pooled, dense.activation, dense.name + ".activation");
  }
  if (sentence_->normalize) {
    Attributes n;
    n.set("axis", int64_t(-1));
    n.set("epsilon", 1e-12);
    pooled = add(Op::l2_norm, {pooled}, "normalize", std::move(n));
  }
  graph_->add_output("sentence_embedding", pooled);
}

void Builder::keep_metadata() {
  auto ids = [&](const char* key, const char* name) {
    auto values = config().integers(key);
    if (!values.empty()) graph_->metadata[name] = cat(values);
  };
  ids("bos_token_id", "bos_token_ids");
  ids("eos_token_id", "eos_token_ids");
  ids("pad_token_id", "pad_token_ids");
  if (!graph_->metadata.contains("max_tokens")) {
    for (const char* key : {"max_position_embeddings", "n_positions"})
      if (config().has(key)) graph_->metadata["max_tokens"] = std::to_string(config().integer(key));
  }
  graph_->family = config().text("model_type");
}

std::shared_ptr<Graph> Builder::finish() {
  std::vector<std::string> left_over;
  for (auto& entry : tensors_) {
    const std::string& name = entry.first;  // clang 14 captures no structured binding
    if (used_.contains(name)) continue;
    auto starts = [&](const std::string& prefix) { return name.starts_with(prefix); };
    auto ends = [&](const std::string& suffix) { return name.ends_with(suffix); };
    if (std::any_of(kept_prefixes_.begin(), kept_prefixes_.end(), starts))
      graph_->weights.add(checkpoint_.tensors[entry.second]);
    else if (std::none_of(ignored_prefixes_.begin(), ignored_prefixes_.end(), starts) &&
             std::none_of(ignored_suffixes_.begin(), ignored_suffixes_.end(), ends))
      left_over.push_back(cat("'", name, "'"));
  }
  std::string problems;
  if (!missing_.empty()) problems += cat("; missing: ", join(missing_, ", ", 50));
  if (!misshapen_.empty()) problems += cat("; of another shape: ", join(misshapen_, ", ", 50));
  if (!left_over.empty()) problems += cat("; not part of this model: ", join(left_over, ", ", 50));
  if (!problems.empty()) throw InvalidData(cat(config().source(), ": the tensors do not fit the configuration", problems));
  keep_metadata();
  infer_shapes(*graph_);
  verify(*graph_);
  return graph_;
}

}  // namespace lacuna
