// LSTM, GRU and simple recurrent layers as ONNX has them.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

// x [steps, batch, in] (layout 0) or [batch, steps, in]; weight [directions, gates * hidden, in], recurrence [directions, gates * hidden, hidden]
// -> all states [steps, directions, batch, hidden] or [batch, steps, directions, hidden]; last states [directions, batch, hidden] or [batch,
// directions, hidden]
void recurrent(InferContext& context, int64_t gates) {
  const Fact& x = context.input(0);
  for (size_t i = 0; i < 3; i++) expect_rank(context, i, 3);
  std::string direction = context.attributes().text("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    context.fail(cat("direction is '", direction, "', known are forward, reverse, bidirectional"));
  Dim directions(direction == "bidirectional" ? 2 : 1);
  auto *weight = context.shape(1), *recurrence = context.shape(2);
  std::optional<Dim> hidden;
  if (context.attributes().has("hidden_size"))
    hidden = Dim(context.attributes().integer("hidden_size", 0));
  else if (recurrence)
    hidden = recurrence->back();
  if (!x.shape || !hidden) {
    for (size_t i = 0; i < context.output_count(); i++) context.set(i, x.dtype, std::nullopt);
    return;
  }
  for (auto* w : {weight, recurrence}) {
    if (!w) continue;
    expect_equal(context, (*w)[0], directions, "the first dimension of a weight and the directions");
    expect_equal(context, (*w)[1], *hidden * Dim(gates), "the rows of a weight and its gates times hidden_size");
  }
  if (weight) expect_equal(context, x.shape->back(), weight->back(), "the width of the input and of the weight");
  bool batch_first = context.attributes().integer("layout", 0) != 0;
  const Dim &steps = (*x.shape)[batch_first ? 1 : 0], &batch = (*x.shape)[batch_first ? 0 : 1];
  SymShape all = batch_first ? SymShape{batch, steps, directions, *hidden} : SymShape{steps, directions, batch, *hidden};
  SymShape last = batch_first ? SymShape{batch, directions, *hidden} : SymShape{directions, batch, *hidden};
  context.set(0, x.dtype, all);
  context.set(1, x.dtype, last);
  context.set(2, x.dtype, last);
}

void lstm(InferContext& context) { recurrent(context, 4); }
void gru(InferContext& context) { recurrent(context, 3); }
void rnn(InferContext& context) { recurrent(context, 1); }

const OpSchema kSchemas[] = {
    {Op::lstm,
     3,
     8,
     1,
     3,
     {"hidden_size", "direction", "activations", "activation_alpha", "activation_beta", "clip", "input_forget", "layout"},
     lstm},
    {Op::gru,
     3,
     6,
     1,
     2,
     {"hidden_size", "direction", "activations", "activation_alpha", "activation_beta", "clip", "linear_before_reset", "layout"},
     gru},
    {Op::rnn, 3, 6, 1, 2, {"hidden_size", "direction", "activations", "activation_alpha", "activation_beta", "clip", "layout"}, rnn},
};

}  // namespace

std::span<const OpSchema> recurrent_schemas() { return kSchemas; }

}  // namespace lacuna::ops
