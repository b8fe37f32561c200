// A TensorProto holds its values in one of: raw_data (little-endian bytes; here often left in the mapped file), a typed field
// (float_data for f32; double_data for f64; int64_data for s64; uint64_data for u32 and u64; int32_data for everything
// narrower, f16 and bf16 as their bits), or an external file (location, offset, length).
#include "io/onnx/tensors.h"

#include <cstring>

#include "base/cat.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

struct TypeRow {
  int code;
  const char* name;
  std::optional<DType> dtype;
};
constexpr TypeRow kTypes[] = {
    {1, "float", DType::kF32},   {2, "uint8", DType::kU8},
    {3, "int8", DType::kS8},     {4, "uint16", DType::kU16},
    {5, "int16", DType::kS16},   {6, "int32", DType::kS32},
    {7, "int64", DType::kS64},   {8, "string", std::nullopt},
    {9, "bool", DType::kBool},   {10, "float16", DType::kF16},
    {11, "double", DType::kF64}, {12, "uint32", DType::kU32},
    {13, "uint64", DType::kU64}, {14, "complex64", {}},
    {15, "complex128", {}},      {16, "bfloat16", DType::kBF16},
    {17, "float8e4m3fn", {}},    {18, "float8e4m3fnuz", {}},
    {19, "float8e5m2", {}},      {20, "float8e5m2fnuz", {}},
    {21, "uint4", DType::kU4},   {22, "int4", DType::kS4},
    {23, "float4e2m1", {}},      {24, "float8e8m0", {}},
    {25, "uint2", {}},           {26, "int2", {}},
};

size_t packed_bytes(int64_t elements, DType dtype) {
  return bits_of(dtype) < 8 ? size_t(elements + 1) / 2 : size_t(elements) * size_t(bits_of(dtype) / 8);
}

template <class To, class From>
Bytes gather_values(const From& values) {
  auto memory = allocate(values.size() * sizeof(To), false);
  auto* out = reinterpret_cast<To*>(memory.get());
  for (auto v : values) *out++ = To(v);
  return {memory, memory.get(), values.size() * sizeof(To)};
}

// The typed field that holds values of this type, as bytes.
Bytes typed_values(const TensorProto& proto, DType dtype, size_t elements) {
  switch (dtype) {
    case DType::kF32: return gather_values<float>(proto.float_data());
    case DType::kF64: return gather_values<double>(proto.double_data());
    case DType::kS64: return gather_values<int64_t>(proto.int64_data());
    case DType::kU64: return gather_values<uint64_t>(proto.uint64_data());
    case DType::kU32: return gather_values<uint32_t>(proto.uint64_data());
    case DType::kS32: return gather_values<int32_t>(proto.int32_data());
    case DType::kS16:
    case DType::kU16:
    case DType::kF16:
    case DType::kBF16: return gather_values<uint16_t>(proto.int32_data());
    case DType::kS8:
    case DType::kBool:
    case DType::kU8: return gather_values<uint8_t>(proto.int32_data());
    case DType::kS4:
    case DType::kU4: {
      // Files differ: a byte of two values per entry (the specification), or one value per entry.
      Bytes bytes = gather_values<uint8_t>(proto.int32_data());
      if (bytes.size != elements || elements < 2) return bytes;
      auto memory = allocate((elements + 1) / 2);
      for (size_t i = 0; i < elements; i++) memory[i / 2] |= (bytes.data[i] & std::byte(15)) << (i % 2 * 4);
      return {memory, memory.get(), (elements + 1) / 2};
    }
  }
  return {};
}

Bytes zeros_and_ones(const Bytes& flags) {
  auto memory = allocate(flags.size, false);
  for (size_t i = 0; i < flags.size; i++) memory[i] = std::byte(flags.data[i] != std::byte(0));
  return {memory, memory.get(), flags.size};
}

// ONNX packs 4-bit values without regard to rows; ours start each row on a byte.
Tensor repack_rows(const TensorReader::Stored& stored) {
  Tensor out(stored.dtype, stored.shape);
  int64_t cols = stored.shape.back(), row_bytes = (cols + 1) / 2;
  std::byte* to = out.mutable_raw();
  for (int64_t i = 0; i < out.size(); i++) {
    std::byte nibble = (stored.bytes.data[i / 2] >> (i % 2 * 4)) & std::byte(15);
    to[i / cols * row_bytes + i % cols / 2] |= nibble << (i % cols % 2 * 4);
  }
  return out;
}

class StoredSource : public WeightSource {
 public:
  explicit StoredSource(TensorReader::Stored stored) : stored_(std::move(stored)) {}
  WeightData load() const override { return {.values = to_tensor(stored_)}; }
  int64_t stored_bytes() const override { return int64_t(stored_.bytes.size); }
  void drop() const override {
    if (stored_.mapped) drop_pages(stored_.bytes);
  }

 private:
  TensorReader::Stored stored_;
};

class WidenedSource : public WeightSource {
 public:
  explicit WidenedSource(std::shared_ptr<const WeightSource> nibbles) : nibbles_(std::move(nibbles)) {}
  WeightData load() const override {
    WeightData data = nibbles_->load();
    const Tensor& narrow = data.values;
    bool is_signed = narrow.dtype() == DType::kS4;
    Tensor wide(is_signed ? DType::kS8 : DType::kU8, narrow.shape());
    int64_t cols = narrow.rank() ? narrow.dim(-1) : 1, row_bytes = (cols + 1) / 2;
    for (int64_t i = 0; i < wide.size(); i++) {
      int nibble = (int(narrow.raw()[i / cols * row_bytes + i % cols / 2]) >> (i % cols % 2 * 4)) & 15;
      wide.mutable_raw()[i] = std::byte(is_signed && nibble >= 8 ? nibble - 16 : nibble);
    }
    data.values = wide;
    return data;
  }
  int64_t stored_bytes() const override { return nibbles_->stored_bytes(); }
  void drop() const override { nibbles_->drop(); }

 private:
  std::shared_ptr<const WeightSource> nibbles_;
};

class CodedSource : public WeightSource {
 public:
  CodedSource(std::shared_ptr<const WeightSource> codes, Tensor scales, Tensor zero_points)
      : codes_(std::move(codes)), scales_(std::move(scales)), zero_points_(std::move(zero_points)) {}
  WeightData load() const override {
    WeightData data = codes_->load();
    data.scales = scales_;
    data.zero_points = zero_points_;
    return data;
  }
  int64_t stored_bytes() const override { return codes_->stored_bytes() + int64_t(scales_.size_bytes() + zero_points_.size_bytes()); }
  void drop() const override { codes_->drop(); }

 private:
  std::shared_ptr<const WeightSource> codes_;
  Tensor scales_, zero_points_;
};

}  // namespace

std::optional<DType> dtype_of_code(int code) noexcept {
  for (auto& row : kTypes)
    if (row.code == code) return row.dtype;
  return std::nullopt;
}

int code_of(DType dtype) noexcept {
  for (auto& row : kTypes)
    if (row.dtype == dtype) return row.code;
  return 0;
}

std::string type_name_of_code(int code) {
  for (auto& row : kTypes)
    if (row.code == code) return row.name;
  return cat("type ", code);
}

TensorReader::TensorReader(std::filesystem::path path, Bytes file) : path_(std::move(path)), file_(std::move(file)) {}

TensorReader::Stored TensorReader::stored(const TensorProto& proto, std::string_view name) {
  std::string what = cat(path_, ": tensor '", name, "'");
  auto dtype = dtype_of_code(proto.data_type());
  LACUNA_ASSERT(dtype.has_value());
  Stored out{*dtype, Shape(proto.dims().begin(), proto.dims().end()), {}, false};
  int64_t elements = checked_element_count(out.shape, *dtype, what);
  size_t wanted = packed_bytes(elements, *dtype);
  if (proto.data_location() == 1) {
    out.bytes = external(proto, what, wanted);
    out.mapped = true;
  } else if (proto.has_mapped_size()) {
    out.bytes = file_.slice(size_t(proto.mapped_offset()), size_t(proto.mapped_size()));
    out.mapped = true;
  } else if (proto.has_raw_data() && !proto.raw_data().empty()) {
    auto memory = allocate(proto.raw_data().size(), false);
    std::memcpy(memory.get(), proto.raw_data().data(), proto.raw_data().size());
    out.bytes = {memory, memory.get(), proto.raw_data().size()};
  } else {
    out.bytes = typed_values(proto, *dtype, size_t(elements));
  }
  if (out.bytes.size != wanted)
    throw InvalidData(cat(what, " of shape ", to_string(out.shape), " and type ", type_name_of_code(proto.data_type()), " has ", out.bytes.size,
                          " bytes, wanted ", wanted));
  if (*dtype == DType::kBool) out.bytes = zeros_and_ones(out.bytes);
  return out;
}

Tensor TensorReader::read(const TensorProto& proto, std::string_view what) { return to_tensor(stored(proto, what)); }

Bytes TensorReader::external(const TensorProto& proto, const std::string& what, size_t wanted) {
  std::string location;
  uint64_t offset = 0, length = wanted;
  auto number = [&](const StringStringEntryProto& entry) {
    uint64_t value = 0;
    for (char c : entry.value()) {
      if (c < '0' || c > '9' || value > (uint64_t(1) << 59))
        throw InvalidData(cat(what, ": external data ", entry.key(), " is '", entry.value(), "', wanted a number"));
      value = value * 10 + uint64_t(c - '0');
    }
    return value;
  };
  for (auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = number(entry);
    if (entry.key() == "length") length = number(entry);
  }
  namespace fs = std::filesystem;
  fs::path relative = fs::path(location).lexically_normal();
  if (location.empty() || location.find('\0') != std::string::npos || relative.is_absolute() || relative.begin()->string() == ".." || relative == ".")
    throw InvalidData(cat(what, ": external data location '", location, "' is not a file inside the model's folder"));
  auto found = external_.find(location);
  if (found == external_.end()) {
    fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    std::error_code error;
    fs::path real_folder = fs::canonical(folder, error);
    fs::path real = error ? fs::path() : fs::canonical(folder / relative, error);
    if (error) throw NotFound(cat(what, ": external data file '", (folder / relative).string(), "' is not there"));
    auto [end, rest] = std::mismatch(real_folder.begin(), real_folder.end(), real.begin(), real.end());
    if (end != real_folder.end()) throw InvalidData(cat(what, ": external data location '", location, "' leads out of the model's folder"));
    found = external_.emplace(location, map_file(real)).first;
  }
  const Bytes& file = found->second;
  if (offset > file.size || length > file.size - offset)
    throw InvalidData(cat(what, ": external data ends at byte ", offset + length, ", '", location, "' has ", file.size));
  return file.slice(size_t(offset), size_t(length));
}

Tensor to_tensor(const TensorReader::Stored& stored) {
  int bits = bits_of(stored.dtype);
  if (bits == 4) {
    if (!stored.shape.empty() && stored.shape.back() % 2 != 0 && stored.shape.size() > 1) return repack_rows(stored);
    return Tensor(stored.dtype, stored.shape, stored.bytes);
  }
  if (reinterpret_cast<uintptr_t>(stored.bytes.data) % size_t(bits / 8) == 0) return Tensor(stored.dtype, stored.shape, stored.bytes);
  Tensor copy(stored.dtype, stored.shape, false);
  std::memcpy(copy.mutable_raw(), stored.bytes.data, stored.bytes.size);
  return copy;
}

std::shared_ptr<const WeightSource> source_of(TensorReader::Stored stored) { return std::make_shared<StoredSource>(std::move(stored)); }

std::shared_ptr<const WeightSource> widened_source(std::shared_ptr<const WeightSource> nibbles) {
  return std::make_shared<WidenedSource>(std::move(nibbles));
}

std::shared_ptr<const WeightSource> coded_source(std::shared_ptr<const WeightSource> codes, Tensor scales, Tensor zero_points) {
  return std::make_shared<CodedSource>(std::move(codes), std::move(scales), std::move(zero_points));
}

}  // namespace lacuna::onnx
