// Layout: "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | tensor descriptions | padding | data.
//   pair:   string key | u32 type | value;  string: u64 length | bytes;  array: u32 type | u64 count | values
//   tensor: string name | u32 dimensions | u64 each, fastest first | u32 type | u64 offset in the data section
// Source: ggml/docs/gguf.md.
#include <algorithm>
#include <cstring>

#include "base/cat.h"
#include "io/gguf.h"
#include "io/gguf_blocks.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

enum : uint32_t { kU8, kS8, kU16, kS16, kU32, kS32, kF32, kBool, kString, kArray, kU64, kS64, kF64, kTypeCount };
constexpr size_t kSizes[kTypeCount] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Reads forward; nothing is used before it is known to be in the file.
class Cursor {
 public:
  Cursor(Bytes bytes, const std::string& name) : bytes_(std::move(bytes)), name_(name) {}
  size_t at = 0;
  size_t left() const { return bytes_.size - at; }
  [[noreturn]] void fail(const std::string& what) const { throw InvalidData(cat(name_, ": ", what)); }

  void skip(uint64_t count, std::string_view what) {
    if (count > left()) fail(cat(what, " at byte ", at, " needs ", count, " bytes, the file has ", left(), " left"));
    at += size_t(count);
  }
  template <class T>
  T read(std::string_view what) {
    size_t from = at;
    skip(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data + from, sizeof value);
    return value;
  }
  std::string_view string(std::string_view what) {
    uint64_t length = read<uint64_t>(what);
    size_t from = at;
    skip(length, what);
    return {reinterpret_cast<const char*>(bytes_.data) + from, size_t(length)};
  }
  // A name that can stand in messages and JSON.
  std::string name_string(std::string_view what) {
    std::string_view text = string(what);
    if (text.empty() || text.size() > 65535 || std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }))
      fail(cat(what, " before byte ", at, " is not printable ASCII"));
    return std::string(text);
  }
  void skip_value(uint32_t type, int depth, const std::string& key) {
    if (type == kString) {
      string(key);
    } else if (type == kArray) {
      if (depth == 4) fail(cat("'", key, "' is nested more than 4 deep"));
      uint32_t element = read<uint32_t>(key);
      uint64_t count = read<uint64_t>(key);
      if (element >= kTypeCount) fail(cat("'", key, "' is an array of type ", element, ", which is unknown"));
      if (kSizes[element]) {
        if (count > left() / kSizes[element]) fail(cat("'", key, "' states ", count, " elements, the file has ", left(), " bytes left"));
        skip(count * kSizes[element], key);
      } else {
        if (count > left() / 8) fail(cat("'", key, "' states ", count, " elements, the file has ", left(), " bytes left"));
        for (uint64_t i = 0; i < count; i++) skip_value(element, depth + 1, key);
      }
    } else if (type < kTypeCount) {
      skip(kSizes[type], key);
    } else {
      fail(cat("'", key, "' is of type ", type, ", which is unknown"));
    }
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
  const std::string& name_;
};

template <class T>
T load(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

std::optional<int64_t> as_integer(uint32_t type, const std::byte* p) {
  switch (type) {
    case kU8: return load<uint8_t>(p);
    case kS8: return load<int8_t>(p);
    case kU16: return load<uint16_t>(p);
    case kS16: return load<int16_t>(p);
    case kU32: return load<uint32_t>(p);
    case kS32: return load<int32_t>(p);
    case kS64: return load<int64_t>(p);
    case kU64: {
      uint64_t v = load<uint64_t>(p);
      return v <= uint64_t(INT64_MAX) ? std::optional(int64_t(v)) : std::nullopt;
    }
    default: return std::nullopt;
  }
}
std::optional<double> as_number(uint32_t type, const std::byte* p) {
  if (type == kF32) return double(load<float>(p));
  if (type == kF64) return load<double>(p);
  auto i = as_integer(type, p);
  return i ? std::optional(double(*i)) : std::nullopt;
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor t{.name = in.name_string("a tensor's name")};
  uint32_t rank = in.read<uint32_t>(t.name);
  if (rank < 1 || rank > 4) in.fail(cat("tensor '", t.name, "' has ", rank, " dimensions, 1 to 4 wanted"));
  for (uint32_t i = 0; i < rank; i++) {
    uint64_t d = in.read<uint64_t>(t.name);
    if (d < 1 || d > (uint64_t(1) << 40)) in.fail(cat("tensor '", t.name, "' has a dimension of ", d));
    t.shape.insert(t.shape.begin(), int64_t(d));
  }
  t.type = in.read<uint32_t>(t.name);
  t.offset = in.read<uint64_t>(t.name);
  return t;
}

// Offsets and sizes of tensors of known types; throws where they do not fit the data section.
void place(GgufTensor& t, const GgufType& type, size_t data_begin, size_t data_size, size_t alignment, const Cursor& in) {
  int64_t count = checked_element_count(t.shape, DType::kF64, cat("tensor '", t.name, "'"));
  if (t.shape.back() % type.elements != 0)
    in.fail(cat("tensor '", t.name, "' has rows of ", t.shape.back(), ", ", type.name, " needs a multiple of ", type.elements));
  t.size_bytes = size_t(count / type.elements * type.bytes);
  if (t.offset % alignment != 0)
    in.fail(cat("tensor '", t.name, "' starts at byte ", t.offset, " of the data, a multiple of ", alignment, " wanted"));
  if (t.offset > data_size || t.size_bytes > data_size - t.offset)
    in.fail(cat("tensor '", t.name, "' needs bytes ", t.offset, " to ", t.offset + t.size_bytes, " of the data, the file has ", data_size));
  t.offset += data_begin;
}

void check_overlap(const std::vector<GgufTensor>& tensors, const Cursor& in) {
  std::vector<const GgufTensor*> order;
  for (auto& t : tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); i++)
    if (order[i - 1]->offset + order[i - 1]->size_bytes > order[i]->offset)
      in.fail(cat("tensors '", order[i - 1]->name, "' and '", order[i]->name, "' overlap"));
}

}  // namespace

std::shared_ptr<const GgufFile> GgufFile::open(const std::filesystem::path& path) {
  return std::make_shared<const GgufFile>(map_file(path), path.string());
}

GgufFile::GgufFile(Bytes bytes, std::string name) : name_(std::move(name)), bytes_(std::move(bytes)) {
  Cursor in(bytes_, name_);
  if (bytes_.size < 24 || std::memcmp(bytes_.data, "GGUF", 4) != 0) in.fail("is not a GGUF file");
  in.skip(4, "the magic");
  uint32_t version = in.read<uint32_t>("the version");
  if (version != 2 && version != 3) throw Unsupported(cat(name_, ": is GGUF of version ", version, ", 2 and 3 (little-endian) are read"));
  uint64_t tensor_count = in.read<uint64_t>("the number of tensors"), pair_count = in.read<uint64_t>("the number of pairs");
  if (pair_count > in.left() / 13) in.fail(cat("states ", pair_count, " key-value pairs, the file has ", in.left(), " bytes left"));
  for (uint64_t i = 0; i < pair_count; i++) {
    KeyValue kv{.key = in.name_string("a key")};
    kv.type = in.read<uint32_t>(kv.key);
    size_t from = in.at;
    in.skip_value(kv.type, 0, kv.key);
    kv.value = bytes_.slice(from, in.at - from);
    if (!keys_.emplace(kv.key, key_values_.size()).second) in.fail(cat("the key '", kv.key, "' occurs twice"));
    key_values_.push_back(std::move(kv));
  }
  if (tensor_count > in.left() / 32) in.fail(cat("states ", tensor_count, " tensors, the file has ", in.left(), " bytes left"));
  std::vector<std::string> unknown;
  for (uint64_t i = 0; i < tensor_count; i++) {
    GgufTensor t = read_tensor(in);
    if (!tensor_index_.emplace(t.name, tensors_.size()).second) in.fail(cat("the tensor '", t.name, "' occurs twice"));
    if (!gguf_type(t.type)) unknown.push_back(cat("'", t.name, "' (type ", t.type, ")"));
    tensors_.push_back(std::move(t));
  }
  if (!unknown.empty()) {
    std::vector<std::string> known;
    for (auto& type : gguf_types()) known.push_back(cat(type.name, " = ", type.id));
    throw Unsupported(cat(name_, ": tensors of types Lacuna does not read: ", join(unknown, ", ", 20), "; read are ", join(known)));
  }
  int64_t alignment = integer("general.alignment").value_or(32);
  if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
    in.fail(cat("general.alignment is ", alignment, ", a power of two wanted"));
  size_t data_begin = std::min(bytes_.size, (in.at + size_t(alignment) - 1) / size_t(alignment) * size_t(alignment));
  for (auto& t : tensors_) place(t, *gguf_type(t.type), data_begin, bytes_.size - data_begin, size_t(alignment), in);
  check_overlap(tensors_, in);
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const GgufFile::KeyValue* GgufFile::find_key(std::string_view key) const {
  auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : &key_values_[it->second];
}

void GgufFile::wrong_type(const KeyValue& kv, std::string_view wanted) const {
  throw InvalidData(cat(name_, ": '", kv.key, "' is of type ", kv.type, ", ", wanted, " wanted"));
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return std::nullopt;
  auto value = as_integer(kv->type, kv->value.data);
  if (!value) wrong_type(*kv, "an integer");
  return value;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return std::nullopt;
  auto value = as_number(kv->type, kv->value.data);
  if (!value) wrong_type(*kv, "a number");
  return value;
}

std::optional<bool> GgufFile::flag(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return std::nullopt;
  if (kv->type != kBool) wrong_type(*kv, "a boolean");
  return kv->value.data[0] != std::byte(0);
}

std::optional<std::string> GgufFile::text(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return std::nullopt;
  if (kv->type != kString) wrong_type(*kv, "a string");
  return std::string(Cursor(kv->value, name_).string(key));
}

std::vector<std::string> GgufFile::texts(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return {};
  Cursor in(kv->value, name_);
  if (kv->type != kArray || in.read<uint32_t>(key) != kString) wrong_type(*kv, "an array of strings");
  uint64_t count = in.read<uint64_t>(key);
  std::vector<std::string> out;
  out.reserve(size_t(count));
  for (uint64_t i = 0; i < count; i++) out.emplace_back(in.string(key));
  return out;
}

std::vector<double> GgufFile::numbers(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return {};
  Cursor in(kv->value, name_);
  uint32_t element = kv->type == kArray ? in.read<uint32_t>(key) : kTypeCount;
  if (element >= kTypeCount || kSizes[element] == 0 || element == kBool) wrong_type(*kv, "an array of numbers");
  uint64_t count = in.read<uint64_t>(key);
  std::vector<double> out;
  for (uint64_t i = 0; i < count; i++) out.push_back(as_number(element, kv->value.data + in.at + i * kSizes[element]).value_or(0));
  return out;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  const KeyValue* kv = find_key(key);
  if (!kv) return {};
  Cursor in(kv->value, name_);
  uint32_t element = kv->type == kArray ? in.read<uint32_t>(key) : kTypeCount;
  std::vector<int64_t> out;
  if (element >= kTypeCount) wrong_type(*kv, "an array of integers");
  uint64_t count = in.read<uint64_t>(key);
  for (uint64_t i = 0; i < count; i++) {
    auto value = as_integer(element, kv->value.data + in.at + i * kSizes[element]);
    if (!value) wrong_type(*kv, "an array of integers");
    out.push_back(*value);
  }
  return out;
}

}  // namespace lacuna
