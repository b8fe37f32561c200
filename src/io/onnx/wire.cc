// A protobuf message is a sequence of fields: a varint key (number << 3 | type), then by type 0: a varint, 1: eight bytes,
// 2: a varint length and that many bytes, 5: four bytes. Messages nest as type 2.
//
//   ModelProto -7-> GraphProto -5-> TensorProto -9-> raw_data
//                              -1-> NodeProto -5-> AttributeProto -5,10-> TensorProto, -6,11-> GraphProto
//              -25-> FunctionProto -7-> NodeProto
#include "io/onnx/wire.h"

#include <cstdint>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

enum class Message { kModel, kGraph, kNode, kAttribute, kTensor, kFunction, kSparse, kOther };

Message child(Message parent, uint64_t field) {
  switch (parent) {
    case Message::kModel: return field == 7 ? Message::kGraph : field == 25 ? Message::kFunction : Message::kOther;
    case Message::kGraph: return field == 1 ? Message::kNode : field == 5 ? Message::kTensor : field == 15 ? Message::kSparse : Message::kOther;
    case Message::kNode: return field == 5 ? Message::kAttribute : Message::kOther;
    case Message::kAttribute:
      if (field == 5 || field == 10) return Message::kTensor;
      return field == 6 || field == 11 ? Message::kGraph : field == 22 ? Message::kSparse : Message::kOther;
    case Message::kFunction: return field == 7 ? Message::kNode : field == 11 ? Message::kAttribute : Message::kOther;
    case Message::kSparse: return field == 1 || field == 2 ? Message::kTensor : Message::kOther;
    default: return Message::kOther;
  }
}

constexpr uint64_t kRawData = 9, kFirstOwnField = 1000;
constexpr uint64_t kMappedOffset = 1000, kMappedSize = 1001;
constexpr int kMaxDepth = 64;

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += char(value | 0x80);
  out += char(value);
}

class Walker {
 public:
  Walker(std::span<const std::byte> file, std::string_view what) : file_(file), what_(what) {}

  std::string copy(Message message, size_t begin, size_t end, int depth) {
    if (depth > kMaxDepth) fail(begin, cat("messages nest more than ", kMaxDepth, " deep"));
    std::string out;
    for (size_t at = begin; at < end;) {
      size_t field_begin = at;
      uint64_t key = varint(at, end), number = key >> 3;
      size_t body = 0;
      switch (key & 7) {
        case 0: varint(at, end); break;
        case 1: skip(at, end, 8); break;
        case 2: {
          uint64_t length = varint(at, end);
          body = at;
          skip(at, end, length);
          break;
        }
        case 5: skip(at, end, 4); break;
        default: fail(field_begin, cat("wire type ", key & 7, " is not one of protobuf's 0, 1, 2 and 5"));
      }
      if (number == 0) fail(field_begin, "a field has number 0");
      if (message == Message::kTensor && number >= kFirstOwnField) continue;
      bool nested = (key & 7) == 2;
      if (nested && message == Message::kTensor && number == kRawData && at - body >= kMappedFrom) {
        put_varint(out, kMappedOffset << 3);
        put_varint(out, body);
        put_varint(out, kMappedSize << 3);
        put_varint(out, at - body);
      } else if (Message inner = child(message, number); nested && inner != Message::kOther) {
        std::string copied = copy(inner, body, at, depth + 1);
        put_varint(out, key);
        put_varint(out, copied.size());
        out += copied;
      } else {
        out.append(reinterpret_cast<const char*>(file_.data()) + field_begin, at - field_begin);
      }
    }
    return out;
  }

 private:
  [[noreturn]] void fail(size_t at, const std::string& message) const { throw InvalidData(cat(what_, ": byte ", at, ": ", message)); }

  uint64_t varint(size_t& at, size_t end) const {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= end) fail(at, "the file ends inside a number");
      uint64_t byte = uint64_t(file_[at++]);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail(at, "a number is longer than ten bytes");
  }

  void skip(size_t& at, size_t end, uint64_t count) const {
    if (count > end - at) fail(at, cat("a field of ", count, " bytes does not fit in the ", end - at, " that are left"));
    at += size_t(count);
  }

  std::span<const std::byte> file_;
  std::string_view what_;
};

}  // namespace

std::string without_payloads(std::span<const std::byte> model, std::string_view what) {
  return Walker(model, what).copy(Message::kModel, 0, model.size(), 0);
}

}  // namespace lacuna::onnx
