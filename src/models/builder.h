// What the family builders share: weights out of the checkpoint, the layers every transformer is made of, and one error for all
// tensors that do not fit.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "models/family.h"
#include "models/rope.h"

namespace lacuna {

// Weights that a builder makes (shapes, scalars) and no checkpoint holds; exporters of the source's kind leave them out.
inline constexpr std::string_view kConstantPrefix = "lacuna.constant.";

struct AttentionShape {
  int64_t heads, kv_heads, head_dim;
  double scale;
  bool causal;
  int64_t window = 0;  // 0: none
  double softcap = 0;  // 0: none
};

class Builder {
 public:
  Builder(Checkpoint checkpoint, std::optional<SentenceHead> sentence);

  const Config& config() const { return checkpoint_.config; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  Graph& graph() { return *graph_; }
  // The class that `architectures` names ("BertForMaskedLM"), or `fallback`.
  std::string architecture(std::string_view fallback) const;
  // Has the architecture no head? "LlamaModel", but not "GPT2LMHeadModel".
  bool is_headless() const;
  // Throws Unsupported listing `known`.
  [[noreturn]] void unknown_architecture(std::initializer_list<std::string_view> known) const;
  // A count out of the configuration that loops run over: no checkpoint has more layers than tensors. Throws InvalidData.
  int64_t layer_count(std::string_view key) const;
  // Throws Unsupported unless b divides a.
  void require_divides(std::string_view a_key, int64_t a, std::string_view b_key, int64_t b) const;
  // `prefix` if any tensor starts with it, else "": checkpoints of a bare encoder leave it out.
  std::string prefix_if_used(std::string_view prefix) const;

  bool has(std::string_view name) const;
  const Shape* shape_of(std::string_view name) const;  // nullptr if absent
  // Does the head share the table? Not if the checkpoint holds a head of its own that differs from it, whatever the configuration says (as
  // transformers 5). Compares the first and the last bytes, so that a large table is not read.
  bool is_tied(bool stated, const std::string& head, const std::string& table) const;
  // Tensors that may be there and are left out: buffers, duplicates of tied weights.
  void ignore_prefix(std::string prefix) { ignored_prefixes_.push_back(std::move(prefix)); }
  void ignore_suffix(std::string suffix) { ignored_suffixes_.push_back(std::move(suffix)); }
  // Tensors that may be there, of heads that are not built: they stay in the WeightTable, used by no node.
  void keep_prefix(std::string prefix) { kept_prefixes_.push_back(std::move(prefix)); }

  // A weight by its Hugging Face name; asked for twice, it is tied. A wanted dimension of -1 takes any. What is missing or has
  // another shape is remembered for finish() and gives kNoValue.
  ValueId weight(const std::string& name, const Shape& wanted, MatrixLayout layout = MatrixLayout::kNone);
  ValueId constant(const std::string& name, const Tensor& value);

  // Nodes added next belong to this block.
  void set_block(std::string block) { block_ = std::move(block); }
  ValueId add(Op op, std::vector<ValueId> inputs, const std::string& name, Attributes attributes = {});
  std::vector<ValueId> split(ValueId x, const std::vector<int64_t>& sizes, const std::string& name);

  ValueId input_ids();       // [batch, tokens] s64
  ValueId attention_mask();  // [batch, tokens] s64, 1 where not left out
  ValueId decoder_mask();    // [batch, past and new tokens] s64, optional: 0 at padding
  ValueId token_type_ids();  // [batch, tokens] s64, 0 where left out
  ValueId embedding(ValueId ids, const std::string& name, int64_t rows, int64_t width);
  // weight [out, in], and bias [out] if stated; kInOut: [in, out] (Conv1D of GPT-2).
  ValueId linear(ValueId x, const std::string& name, int64_t in, int64_t out, bool bias, MatrixLayout layout = MatrixLayout::kOutIn);
  // linear with as many outputs as its weight has.
  ValueId classifier(ValueId x, const std::string& name, int64_t in);
  // Outputs start_logits and end_logits [batch, tokens] of qa_outputs(hidden).
  void question_answering_outputs(ValueId hidden, int64_t width);
  ValueId layer_norm(ValueId x, const std::string& name, int64_t width, double epsilon);
  ValueId rms_norm(ValueId x, const std::string& name, int64_t width, double epsilon, double scale_offset = 0);
  // RMS norm of each head of [b, t, heads * head_dim] by itself.
  ValueId head_norm(ValueId x, const std::string& name, const std::string& shape_name, int64_t heads, int64_t head_dim, double epsilon);
  // By the name that configurations use: silu, gelu, gelu_new, relu ... Throws Unsupported listing the known ones.
  ValueId activation(ValueId x, const std::string& function, const std::string& name);
  ValueId rope(ValueId x, ValueId positions, const Rope& rope, int64_t heads, int64_t head_dim, const std::string& name);
  // A KV cache named layers.N.k and layers.N.v goes with it if layer >= 0.
  ValueId attention(ValueId q, ValueId k, ValueId v, ValueId mask, const AttentionShape& shape, int64_t layer, const std::string& name);
  ValueId residual(ValueId x, ValueId y, const std::string& name) { return add(Op::add, {x, y}, name + ".residual"); }

  // Output logits = head(hidden): `head` shares the table `embedding` if the configuration ties them.
  // An architecture that ends in "Model" has no head; its output is last_hidden_state.
  void language_model_outputs(ValueId hidden, const std::string& head, const std::string& embedding, int64_t vocab, int64_t width, bool tied,
                              bool bias = false);
  // Output last_hidden_state and, if there is one, the sentence head's.
  void encoder_outputs(ValueId hidden, ValueId mask);

  // Metadata, shapes, verification. Throws InvalidData listing every tensor that is missing, misshapen or left over.
  std::shared_ptr<Graph> finish();

 private:
  std::string source_name(std::string_view name) const;
  void keep_metadata();

  Checkpoint checkpoint_;
  std::optional<SentenceHead> sentence_;
  std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
  std::map<std::string, size_t, std::less<>> tensors_;  // by source name
  std::map<std::string, ValueId, std::less<>> used_;    // by source name
  std::vector<std::string> missing_, misshapen_, ignored_prefixes_, ignored_suffixes_, kept_prefixes_;
  std::string block_;
};

}  // namespace lacuna
