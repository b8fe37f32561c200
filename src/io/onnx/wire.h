// Reads the protobuf wire format of an ONNX file just far enough to leave the weights where they are.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace lacuna::onnx {

// raw_data shorter than this stays in the message: shapes, axes and other constants that are read at once.
inline constexpr size_t kMappedFrom = 256;

// A copy of a ModelProto message in which every long TensorProto.raw_data is replaced by its place in `model` (fields
// mapped_offset and mapped_size of lacuna_onnx.proto). Fields of those numbers that the file itself carries are dropped.
// Throws InvalidData naming `what` and the byte on malformed input. Cost: reads everything but the long payloads.
std::string without_payloads(std::span<const std::byte> model, std::string_view what);

}  // namespace lacuna::onnx
