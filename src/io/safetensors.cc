// Layout: u64 little-endian N | N bytes of JSON, starting with '{', padded with spaces | data.
//   {"__metadata__": {"format": "pt"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
// Source: https://github.com/huggingface/safetensors (format section of its README).
#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxRank = 32;

struct TypeName {
  std::string_view name;
  DType dtype;
};
constexpr TypeName kTypes[] = {{"F64", DType::kF64}, {"F32", DType::kF32}, {"F16", DType::kF16},  {"BF16", DType::kBF16}, {"I64", DType::kS64},
                               {"I32", DType::kS32}, {"I16", DType::kS16}, {"I8", DType::kS8},    {"U64", DType::kU64},   {"U32", DType::kU32},
                               {"U16", DType::kU16}, {"U8", DType::kU8},   {"BOOL", DType::kBool}};

// Reads exactly the header's shape of JSON, without building a document: nothing in it can grow beyond its text.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& file) : header_(header), file_(file) {}
  std::vector<std::string> unsupported;

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a fraction"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) unexpected("a number");
    if (field_ == "shape") {
      if (value > uint64_t(INT64_MAX) || entry_.shape.size() == kMaxRank)
        unexpected(cat("dimension ", value, " as number ", entry_.shape.size() + 1));
      entry_.shape.push_back(int64_t(value));
    } else {
      if (offsets_ == 2) unexpected("a third data offset");
      (offsets_++ ? entry_.end : entry_.begin) = size_t(value);
    }
    return true;
  }
  bool string(string_t& value) override {
    if (depth_ != 2 || in_array_) unexpected("a string");
    if (metadata_) {
      header_.metadata[field_] = value;
    } else {
      if (field_ != "dtype") unexpected("a string");
      auto it = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return t.name == value; });
      known_type_ = it != std::end(kTypes);
      if (known_type_)
        entry_.dtype = it->dtype;
      else if (unsupported.size() < 1000)
        unsupported.push_back(cat("'", entry_.name, "' (", value.substr(0, 32), ")"));
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (++depth_ > 2 || in_array_) unexpected("a nested object");
    return true;
  }
  bool key(string_t& value) override {
    if (depth_ == 1) {
      if (!names_.insert(value).second) fail(cat("the name '", value, "' occurs twice"));
      metadata_ = value == "__metadata__";
      entry_ = {.name = value};
      fields_.clear();
      offsets_ = 0;
    } else {
      if (!fields_.insert(value).second) fail(cat("'", entry_.name, "' states ", value, " twice"));
      if (!metadata_ && value != "dtype" && value != "shape" && value != "data_offsets")
        fail(cat("tensor '", entry_.name, "' has an unknown field '", value, "'"));
    }
    field_ = value;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && !metadata_) {
      if (fields_.size() != 3) fail(cat("tensor '", entry_.name, "' must state dtype, shape and data_offsets"));
      if (offsets_ != 2) fail(cat("tensor '", entry_.name, "' has ", offsets_, " data offsets, 2 wanted"));
      if (known_type_) header_.entries.push_back(std::move(entry_));
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_array_ || metadata_ || field_ == "dtype") unexpected("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(cat("the header is not JSON at its byte ", position));
  }

 private:
  [[noreturn]] void fail(const std::string& message) { throw InvalidData(cat(file_, ": ", message)); }
  [[noreturn]] void unexpected(const std::string& what) { fail(cat("the header holds ", what, " at '", entry_.name, "' ", field_)); }

  SafetensorsHeader& header_;
  const std::string& file_;
  SafetensorsEntry entry_;
  std::set<std::string> names_, fields_;
  std::string field_;
  int depth_ = 0, offsets_ = 0;
  bool in_array_ = false, metadata_ = false, known_type_ = false;
};

// Offsets in range, sizes as the shapes say, and the data section covered once and whole.
void check_entries(SafetensorsHeader& header, size_t data_size, const std::string& file) {
  for (auto& entry : header.entries) {
    std::string what = cat(file, ": tensor '", entry.name, "'");
    if (entry.begin > entry.end) throw InvalidData(cat(what, " starts at byte ", entry.begin, " and ends at byte ", entry.end));
    if (entry.end > data_size) throw InvalidData(cat(what, " ends at byte ", entry.end, " of the data, the file has ", data_size));
    int64_t wanted = checked_element_count(entry.shape, entry.dtype, what) * (bits_of(entry.dtype) / 8);
    if (int64_t(entry.end - entry.begin) != wanted) {
      throw InvalidData(
          cat(what, " has ", entry.end - entry.begin, " bytes, ", name_of(entry.dtype), " ", to_string(entry.shape), " needs ", wanted));
    }
  }
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](auto& a, auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  size_t at = 0;
  for (auto& entry : header.entries) {
    if (entry.begin != at)
      throw InvalidData(cat(file, ": tensor '", entry.name, "' starts at byte ", entry.begin, " of the data, ", at,
                            entry.begin < at ? " is where the one before it ends: they overlap" : " wanted: there is a gap"));
    at = entry.end;
  }
  if (at != data_size) throw InvalidData(cat(file, ": the tensors end at byte ", at, " of the data, the file has ", data_size));
}

bool is_aligned(const std::byte* data, DType dtype) { return reinterpret_cast<uintptr_t>(data) % size_t(std::max(1, bits_of(dtype) / 8)) == 0; }

std::string_view type_name(DType dtype) {
  auto it = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return t.dtype == dtype; });
  LACUNA_ASSERT(it != std::end(kTypes));
  return it->name;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& name) {
  if (file.size() == 0) throw InvalidData(cat(name, ": is empty (0 bytes)"));
  if (file.size() < 10) throw InvalidData(cat(name, ": is ", file.size(), " bytes, too short for a safetensors header"));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > kMaxHeader) throw InvalidData(cat(name, ": states a header of ", length, " bytes, at most ", kMaxHeader, " are allowed"));
  if (length > file.size() - 8)
    throw InvalidData(cat(name, ": states a header of ", length, " bytes, the file has ", file.size() - 8, " after the length"));
  std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  if (!text.starts_with('{')) throw InvalidData(cat(name, ": the header does not start with '{': this is not a safetensors file"));
  SafetensorsHeader header;
  header.data_begin = size_t(8 + length);
  HeaderReader reader(header, name);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  if (!reader.unsupported.empty()) throw Unsupported(cat(name, ": tensors of types Lacuna does not read: ", join(reader.unsupported, ", ", 20)));
  check_entries(header, file.size() - header.data_begin, name);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : name_(path.string()), bytes_(map_file(path)), header_(parse_safetensors_header(bytes_.span(), name_)) {
  for (size_t i = 0; i < header_.entries.size(); i++) index_[header_.entries[i].name] = i;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.entries[it->second];
}

Bytes SafetensorsFile::bytes_entry(const SafetensorsEntry& entry) const {
  return bytes_.slice(header_.data_begin + entry.begin, entry.end - entry.begin);
}

Tensor SafetensorsFile::tensor(const SafetensorsEntry& entry) const {
  Bytes bytes = bytes_entry(entry);
  if (entry.dtype == DType::kBool) {
    for (std::byte b : bytes.span())
      if (uint8_t(b) > 1) throw InvalidData(cat(name_, ": tensor '", entry.name, "' is bool and holds the byte ", int(b)));
  }
  if (is_aligned(bytes.data, entry.dtype)) return Tensor(entry.dtype, entry.shape, bytes);
  Tensor copy(entry.dtype, entry.shape, false);
  std::memcpy(copy.mutable_raw(), bytes.data, bytes.size);
  return copy;
}

void SafetensorsFile::drop(const SafetensorsEntry& entry) const noexcept { drop_pages(bytes_entry(entry)); }

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Declaration> declarations,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  // Wide types first, so that every tensor is aligned without gaps.
  std::stable_sort(declarations.begin(), declarations.end(), [](auto& a, auto& b) { return bits_of(a.dtype) > bits_of(b.dtype); });
  // Members are put behind each other as text: looking each name up in a document would cost the square of their number.
  std::string text = "{";
  auto member = [&](const std::string& name, const nlohmann::ordered_json& value) {
    text += cat(text.size() > 1 ? "," : "", nlohmann::ordered_json(name).dump(), ":", value.dump());
  };
  if (!metadata.empty()) member("__metadata__", metadata);
  int64_t at = 0;
  for (auto& d : declarations) {
    int64_t size = element_count(d.shape) * (bits_of(d.dtype) / 8);
    member(d.name, {{"dtype", type_name(d.dtype)}, {"shape", d.shape}, {"data_offsets", {at, at + size}}});
    bool fresh = slots_.emplace(d.name, Slot{at, size, size == 0}).second;
    LACUNA_ASSERT(fresh);
    at += size;
  }
  text += "}";
  text.resize((8 + text.size() + 63) / 64 * 64 - 8, ' ');
  uint64_t length = text.size();
  file_.reserve(int64_t(8 + text.size()) + at);
  file_.append(std::as_bytes(std::span(&length, 1)));
  file_.append(text);
  for (auto& [name, slot] : slots_) slot.offset += 8 + int64_t(length);
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  auto it = slots_.find(name);
  LACUNA_ASSERT(it != slots_.end() && int64_t(bytes.size()) == it->second.size);
  file_.write_at(it->second.offset, bytes);
  it->second.written = true;
}

void SafetensorsWriter::commit() {
  for (auto& [name, slot] : slots_) LACUNA_ASSERT(slot.written);
  file_.commit();
}

}  // namespace lacuna
