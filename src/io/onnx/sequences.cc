#include "io/onnx/sequences.h"

#include "base/cat.h"

namespace lacuna::onnx {
namespace {

using Sequence = std::vector<ValueId>;

// The constant position of operand `i`, counted from the end if negative; `extra` positions past the end are allowed.
size_t position(OpContext& context, size_t i, size_t size, size_t extra, int64_t fallback) {
  int64_t at = fallback;
  if (context.has(i)) {
    auto known = context.integers_of(context.input(i));
    if (!known || known->size() != 1) context.unsupported("a position that is not known before the run");
    at = (*known)[0];
  }
  if (at < 0) at += int64_t(size);
  if (at < 0 || at >= int64_t(size + extra)) context.invalid(cat("position ", at, " is outside of a sequence of ", size));
  return size_t(at);
}

Sequence split(OpContext& context) {
  constexpr int64_t kMaxParts = 10000;
  ValueId x = context.required(0);
  auto shape = context.shape(x);
  int64_t axis = context.integer("axis", 0);
  if (shape && axis < 0) axis += int64_t(shape->size());
  if (!shape || axis < 0 || axis >= int64_t(shape->size()) || !(*shape)[size_t(axis)].is_constant())
    context.unsupported("a number of parts that is not known before the run");
  int64_t length = (*shape)[size_t(axis)].value();
  std::vector<int64_t> sizes;
  bool squeeze = !context.has(1) && context.integer("keepdims", 1) == 0;
  auto given = context.integers_of(context.input(1));
  if (context.has(1) && !given) context.unsupported("sizes that are not known before the run");
  if (given && context.rank(context.input(1)) == 1) {
    sizes = *given;
  } else {
    int64_t part = given ? (*given)[0] : 1;
    if (part < 1 || length / part > kMaxParts) context.invalid(cat("splits ", length, " elements into parts of ", part));
    for (int64_t begin = 0; begin < length; begin += part) sizes.push_back(std::min(part, length - begin));
  }
  if (sizes.empty() || int64_t(sizes.size()) > kMaxParts) context.unsupported(cat(sizes.size(), " parts"));
  Sequence parts = context.add_node(Op::split, {x}, sizes.size(), with({{"axis", axis}, {"split", sizes}}));
  if (squeeze)
    for (size_t i = 0; i < parts.size(); i++)
      parts[i] = context.add(Op::squeeze, {parts[i]}, with({{"axes", std::vector<int64_t>{axis}}}), cat("part_", i));
  return parts;
}

ValueId concat(OpContext& context, Sequence parts) {
  if (parts.empty()) context.invalid("joins an empty sequence");
  int64_t axis = context.integer("axis", 0);
  if (context.integer("new_axis", 0) != 0)
    for (size_t i = 0; i < parts.size(); i++)
      parts[i] = context.add(Op::unsqueeze, {parts[i]}, with({{"axes", std::vector<int64_t>{axis}}}), cat("part_", i));
  return context.add(Op::concat, parts, with({{"axis", axis}}));
}

}  // namespace

bool gives_sequence(std::string_view type) noexcept {
  return type == "SequenceConstruct" || type == "SequenceEmpty" || type == "SequenceInsert" || type == "SequenceErase" || type == "SplitToSequence";
}

bool is_sequence_op(std::string_view type) noexcept {
  return gives_sequence(type) || type == "SequenceAt" || type == "SequenceLength" || type == "ConcatFromSequence";
}

Sequence import_sequence_op(OpContext& context, const Sequence& operand) {
  const std::string& type = context.type();
  Sequence result = operand;
  if (type == "SequenceConstruct") {
    result.clear();
    for (size_t i = 0; i < context.input_count(); i++) result.push_back(context.required(i));
  } else if (type == "SplitToSequence") {
    result = split(context);
  } else if (type == "SequenceInsert") {
    ValueId added = context.required(1);
    result.insert(result.begin() + long(position(context, 2, result.size(), 1, int64_t(result.size()))), added);
  } else if (type == "SequenceErase") {
    if (result.empty()) context.invalid("erases from an empty sequence");
    result.erase(result.begin() + long(position(context, 1, result.size(), 0, int64_t(result.size()) - 1)));
  } else if (type == "SequenceAt") {
    context.required(1);
    context.set_output(0, result[position(context, 1, result.size(), 0, 0)]);
  } else if (type == "SequenceLength") {
    context.set_output(0, context.scalar(double(result.size()), DType::kS64, "length"));
  } else if (type == "ConcatFromSequence") {
    context.set_output(0, concat(context, result));
  }
  return result;
}

}  // namespace lacuna::onnx
