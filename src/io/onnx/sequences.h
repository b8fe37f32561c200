// Sequences of tensors, as far as they are known before the run: exports of torch.split, unbind, chunk and stack build and take them
// apart again. The Graph has no such type; a sequence is the list of its values at import.
#pragma once

#include <string_view>
#include <vector>

#include "io/onnx/importer.h"

namespace lacuna::onnx {

// SequenceConstruct, SequenceEmpty, SequenceInsert, SequenceErase, SequenceAt, SequenceLength, SplitToSequence, ConcatFromSequence.
bool is_sequence_op(std::string_view type) noexcept;

// Imports such a node; `operand` is its sequence input, if it has one. The result is a sequence (for the first four and
// SplitToSequence) or, for the others, set as output 0 of the context.
std::vector<ValueId> import_sequence_op(OpContext& context, const std::vector<ValueId>& operand);
// Does this op give a sequence?
bool gives_sequence(std::string_view type) noexcept;

}  // namespace lacuna::onnx
