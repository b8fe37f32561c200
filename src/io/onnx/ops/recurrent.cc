// LSTM, GRU and RNN since 7; 14 adds layout, 22 types. Weights stay as ONNX has them: [directions, gates * hidden, in].
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void recurrent(OpContext& context) {
  bool lstm = context.type() == "LSTM";
  Op op = lstm ? Op::lstm : context.type() == "GRU" ? Op::gru : Op::rnn;
  Attributes attributes;
  context.copy(attributes,
               {"hidden_size", "direction", "activation_alpha", "activation_beta", "clip", "input_forget", "linear_before_reset", "layout"});
  if (context.has_attribute("activations")) attributes.set("activations", join(context.texts("activations"), ","));
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < size_t(lstm ? 8 : 6); i++) inputs.push_back(i < 3 ? context.required(i) : context.input(i));
  auto results = context.add_node(op, inputs, lstm ? 3 : 2, attributes);
  for (size_t i = 0; i < results.size(); i++) context.set_output(i, results[i]);
}

}  // namespace lacuna::onnx::import
