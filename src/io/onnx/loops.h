// Loops that are recurrent layers.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "io/onnx/importer.h"

namespace lacuna::onnx {

class GraphProto;

// What a name means that stays the same in every round: the body's constants and all of the outside. kNoValue if it is none of these.
using Lookup = std::function<ValueId(const std::string& name)>;

// The results of a Loop over the steps of a sequence whose body is the cell of a GRU or of a simple recurrent layer, as tf2onnx writes those
// of Keras: `gru` or `rnn` in its place, whatever the number of steps. nullopt if the body is anything else.
std::optional<std::vector<ValueId>> recurrent_loop(GraphBuilder& builder, const GraphProto& body, const SourceNode& node, const Lookup& lookup);

}  // namespace lacuna::onnx
