// Compiling one node of a Program: from shapes and constants to a step. One function per op that has a fast path; all other ops
// run as the reference does.
#pragma once

#include <functional>

#include "graph/infer.h"
#include "kernels/transformer.h"
#include "runtime/ops/rope_tables.h"
#include "runtime/packs.h"
#include "runtime/plan_node.h"

namespace lacuna {

// One execution of a step. An absent optional input is nullptr.
struct StepCall {
  std::span<Tensor*const> inputs, outputs;
  int64_t past;                    // tokens already in the caches
  int64_t run;                     // counts the runs of the Program
  std::span<double> seconds = {};  // of a chain, if asked for: the time of each link on all threads together

  const Tensor& in(size_t i) const { return *inputs[i]; }
  Tensor& out(size_t i) const { return *outputs[i]; }
  const float* floats(size_t i) const { return i < inputs.size() && inputs[i] ? reinterpret_cast<const float*>(inputs[i]->raw()) : nullptr; }
  float* out_floats() const { return reinterpret_cast<float*>(outputs[0]->mutable_raw()); }
};
using StepFn = std::function<void(const StepCall&)>;

// A convolution of plain floats, which may become a link of a chain.
struct ConvCall {
  std::shared_ptr<const kernels::PackedConv> packed;
  int64_t batch, in_h, in_w;
  int64_t in_size;             // elements of an image
  int64_t out_pixels;          // of all images
  kernels::Epilogue epilogue;  // without bias (input 2) and residual (input 3)
};

// Rows [first, end) of some planes of a pool's output, from planes of which rows from x_first on are there.
struct PoolRows {
  const float* x;
  int64_t x_pitch, x_first;  // from plane to plane; the first row of each
  int64_t planes, first, end;
  float* y;  // row `first` of the first plane
  int64_t y_pitch;
};
// A pool of plain floats, which may run together with the convolution before it.
struct PoolCall {
  int64_t planes, in_h, in_w, out_h, out_w;  // of an image
  int64_t stride_h, window_h, pad_top;       // a window spans window_h rows
  std::function<void(const PoolRows&)> rows;
};

struct CompiledStep {
  std::string kernel;
  StepFn run;                    // empty: no fast path
  std::vector<size_t> in_place;  // inputs whose memory the output may take over
  std::vector<size_t> unread;    // inputs that the step does not read (packed weights)
  // Channels per block in which an input is read and output 0 written ([n, c / block, pixels, block]); 0, or beyond the end: plain.
  std::vector<int64_t> input_blocks = {};
  int64_t output_block = 0;
  // Where given: a step that writes the codes of output 0 as well, as output 1.
  std::function<StepFn(const kernels::Rounding&)> run_with_codes = {};
  // Of a product with a packed weight: as in PackStore::Pack.
  std::string problem = {};
  int64_t plan_line = -1;
  std::optional<ConvCall> conv = {};
  std::optional<PoolCall> pool = {};
  bool rounds = false;  // the step does the rounding of its result, PlanNode::sum, itself
};

// Filled when the convolution is compiled; stays empty after the last one.
struct NextConv {
  std::shared_ptr<const kernels::PackedConv> packed;
};

// What the steps of a Program share.
struct SharedTables {
  bool coarse = false;  // products of the graph round what they read to eight bits
  std::vector<kernels::Rounding> codings;
  std::map<std::tuple<ValueId, std::vector<double>, double, bool>, std::shared_ptr<RopeTables>> rope;
  std::shared_ptr<NextConv> next_conv;  // where the convolution of codes compiled last finds the next one
};

// What a compile function sees. Shapes are those of the binding.
class OpContext {
 public:
  OpContext(const Graph& graph, const PlanNode& plan, const std::vector<Fact>& facts, PackStore& packs, SharedTables& tables,
            const std::function<const Tensor&(ValueId)>& constant, std::function<int64_t(ValueId)> block_of,
            std::function<const Tensor*(ValueId)> computed = {})
      : graph_(graph),
        plan_(plan),
        facts_(facts),
        packs_(packs),
        tables_(tables),
        constant_(constant),
        block_of_(std::move(block_of)),
        computed_(std::move(computed)) {}

  const Graph& graph() const { return graph_; }
  const PlanNode& plan() const { return plan_; }
  const Node& node() const { return plan_.node; }
  const Attributes& attributes() const { return plan_.node.attributes; }
  PackStore& packs() const { return packs_; }
  bool coarse() const { return tables_.coarse; }
  // Tells the convolution of codes before that `packed` comes next, and gives what will tell the same to this one.
  std::shared_ptr<const NextConv> link(std::shared_ptr<const kernels::PackedConv> packed) const;
  std::shared_ptr<RopeTables> rope_tables(ValueId positions, const std::vector<double>& frequencies, double factor, bool interleaved) const;

  bool has(size_t i) const { return plan_.has(i); }
  Shape shape(size_t i) const { return shape_of(node().inputs[i]); }
  Shape out_shape(size_t i = 0) const { return shape_of(node().outputs[i]); }
  DType type(size_t i) const { return facts_[size_t(node().inputs[i])].dtype; }
  bool is_float(size_t i) const { return has(i) && lacuna::is_float(type(i)); }
  bool is_weight(size_t i) const { return has(i) && graph_.weight_of(node().inputs[i]); }
  const Weight& weight(size_t i) const { return *graph_.weight_of(node().inputs[i]); }
  // The value of a weight or of what was computed of weights alone, decoded; nullptr otherwise.
  const Tensor* constant(size_t i) const;
  std::optional<std::vector<int64_t>> integers(size_t i) const;  // elements known as integers

  // Channels per block in which the input is held at this point of the Program; 0: plain. Blocks are used only where nobody watches.
  int64_t block(size_t i) const { return has(i) && block_of_ ? block_of_(node().inputs[i]) : 0; }
  bool may_block() const { return bool(block_of_); }
  // The layout of tokens coded so.
  int64_t codes_layout(const kernels::Rounding& rounding) const;

  kernels::Epilogue epilogue() const {
    kernels::Epilogue e{.activation = plan_.activation, .alpha = plan_.alpha, .beta = plan_.beta};
    if (plan_.node.op == Op::linear) e.sum_rounding = plan_.product.of_values(), e.rounding = plan_.sum.of_values();
    return e;
  }

 private:
  Shape shape_of(ValueId v) const { return *constant_shape(*facts_[size_t(v)].shape); }

  const Graph& graph_;
  const PlanNode& plan_;
  const std::vector<Fact>& facts_;
  PackStore& packs_;
  SharedTables& tables_;
  const std::function<const Tensor&(ValueId)>& constant_;
  std::function<int64_t(ValueId)> block_of_;
  std::function<const Tensor*(ValueId)> computed_;
};

// Elements of a tensor of `shape` [n, c, spatial...] held in blocks of channels.
inline int64_t blocked_count(const Shape& shape, int64_t block) {
  return block ? shape[0] * ((shape[1] + block - 1) / block * block) * element_count(std::span(shape).subspan(2)) : element_count(shape);
}

// An empty step if the op, or this use of it, has no fast path.
CompiledStep compile_op(const OpContext& context);

// What the attention of a plan with codes runs as; nullopt if the CPU or the shapes do not allow it.
std::optional<kernels::CodedAttentionProblem> coded_attention_problem(const OpContext& context);

// The compile functions, by file.
CompiledStep compile_linear(const OpContext& context);
CompiledStep compile_matmul(const OpContext& context);
CompiledStep compile_embedding(const OpContext& context);
CompiledStep compile_conv(const OpContext& context);
CompiledStep compile_conv_transpose(const OpContext& context);
CompiledStep compile_quantize(const OpContext& context);
CompiledStep compile_dequantize(const OpContext& context);
CompiledStep compile_attention(const OpContext& context);
CompiledStep compile_rope(const OpContext& context);
CompiledStep compile_layer_norm(const OpContext& context);
CompiledStep compile_group_norm(const OpContext& context);
CompiledStep compile_rms_norm(const OpContext& context);
CompiledStep compile_batch_norm(const OpContext& context);
CompiledStep compile_softmax(const OpContext& context);
CompiledStep compile_log_softmax(const OpContext& context);
CompiledStep compile_cum_sum(const OpContext& context);
CompiledStep compile_activation(const OpContext& context);
CompiledStep compile_binary(const OpContext& context);
CompiledStep compile_comparison(const OpContext& context);
CompiledStep compile_not(const OpContext& context);
CompiledStep compile_where(const OpContext& context);
CompiledStep compile_cast(const OpContext& context);
CompiledStep compile_pow(const OpContext& context);
CompiledStep compile_global_average_pool(const OpContext& context);
CompiledStep compile_global_max_pool(const OpContext& context);
CompiledStep compile_pool(const OpContext& context);
CompiledStep compile_resize(const OpContext& context);
CompiledStep compile_reduce(const OpContext& context);
CompiledStep compile_unary(const OpContext& context);
CompiledStep compile_prelu(const OpContext& context);
CompiledStep compile_transpose(const OpContext& context);
CompiledStep compile_depth_to_space(const OpContext& context);
CompiledStep compile_space_to_depth(const OpContext& context);
CompiledStep compile_expand(const OpContext& context);
CompiledStep compile_tile(const OpContext& context);
CompiledStep compile_concat(const OpContext& context);
CompiledStep compile_slice(const OpContext& context);
CompiledStep compile_pad(const OpContext& context);
CompiledStep compile_split(const OpContext& context);

}  // namespace lacuna
