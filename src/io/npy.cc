// Layout: "\x93NUMPY" | u8 major | u8 minor | header length (u16 in version 1, u32 after) | header | data.
// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
// Source: numpy/lib/format.py.
#include "io/npy.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/buffer.h"
#include "base/cat.h"
#include "io/output_file.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

struct Description {
  std::string_view text;
  DType dtype;
};
constexpr Description kTypes[] = {{"f8", DType::kF64}, {"f4", DType::kF32}, {"f2", DType::kF16}, {"i8", DType::kS64},
                                  {"i4", DType::kS32}, {"i2", DType::kS16}, {"i1", DType::kS8},  {"u8", DType::kU64},
                                  {"u4", DType::kU32}, {"u2", DType::kU16}, {"u1", DType::kU8},  {"b1", DType::kBool}};

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran;
  std::optional<Shape> shape;
};

// Reads the one form of dictionary that NumPy writes.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}
  Header parse() {
    Header header;
    expect('{');
    while (!accept('}')) {
      std::string key = quoted();
      expect(':');
      if (key == "descr") {
        if (peek() == '[') throw Unsupported(cat(name_, ": is a structured array; arrays of one element type are read"));
        header.descr = quoted();
      } else if (key == "fortran_order") {
        header.fortran = boolean();
      } else if (key == "shape") {
        header.shape = tuple();
      } else {
        fail(cat("has an unknown key '", key, "'"));
      }
      accept(',');
    }
    if (!header.descr || !header.fortran || !header.shape) fail("must state descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) { throw InvalidData(cat(name_, ": the .npy header ", what)); }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) at_++;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    at_++;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(cat("has no '", c, "' at its byte ", at_));
  }
  std::string quoted() {
    char quote = peek();
    if (quote != '\'' && quote != '"') fail(cat("has no string at its byte ", at_));
    size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) fail("ends inside a string");
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    peek();
    for (bool value : {true, false}) {
      std::string_view word = value ? "True" : "False";
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    fail(cat("has no True or False at its byte ", at_));
  }
  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      peek();
      int64_t value = 0;
      auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0 || shape.size() == 32) fail(cat("has no dimension at its byte ", at_));
      at_ = size_t(end - text_.data());
      shape.push_back(value);
      accept(',');
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

DType parse_descr(std::string_view descr, const std::string& name) {
  auto it = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Description& d) { return descr.size() == 3 && descr.substr(1) == d.text; });
  if (it == std::end(kTypes))
    throw Unsupported(cat(name, ": elements are '", descr.substr(0, 40), "', read are f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1"));
  bool one_byte = bits_of(it->dtype) == 8;
  if (descr[0] != '<' && !(one_byte && (descr[0] == '|' || descr[0] == '>'))) {
    throw Unsupported(cat(name, ": elements are '", descr, "', little-endian '<", it->text, "' wanted (numpy: a.astype(a.dtype.newbyteorder('<')))"));
  }
  return it->dtype;
}

// The array stored with its first axis fastest, as one with its last axis fastest.
Tensor from_fortran(const Tensor& stored, const Shape& shape) {
  Tensor out(stored.dtype(), shape, false);
  size_t width = size_t(bits_of(stored.dtype()) / 8);
  std::vector<int64_t> strides(shape.size(), 1), index(shape.size(), 0);
  for (size_t i = 1; i < shape.size(); i++) strides[i] = strides[i - 1] * shape[i - 1];
  int64_t offset = 0;
  for (int64_t i = 0; i < out.size(); i++) {
    std::memcpy(out.mutable_raw() + size_t(i) * width, stored.raw() + size_t(offset) * width, width);
    for (size_t axis = shape.size(); axis-- > 0;) {
      offset += strides[axis];
      if (++index[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> file, const std::string& name) {
  const char* chars = reinterpret_cast<const char*>(file.data());
  if (file.size() < 10 || std::memcmp(chars, "\x93NUMPY", 6) != 0)
    throw InvalidData(cat(name, ": is not a .npy file (it does not start with \\x93NUMPY)"));
  int version = int(file[6]);
  if (version < 1 || version > 3) throw Unsupported(cat(name, ": is a .npy file of version ", version, ", 1 to 3 are read"));
  size_t start = version == 1 ? 10 : 12;
  if (file.size() < start) throw InvalidData(cat(name, ": ends inside the .npy header"));
  uint32_t length = 0;
  std::memcpy(&length, chars + 8, version == 1 ? 2 : 4);
  if (length > file.size() - start) throw InvalidData(cat(name, ": states a header of ", length, " bytes, the file has ", file.size() - start));
  Header header = HeaderParser({chars + start, length}, name).parse();
  DType dtype = parse_descr(*header.descr, name);
  int64_t bytes = checked_element_count(*header.shape, dtype, name) * (bits_of(dtype) / 8);
  size_t available = file.size() - start - length;
  if (uint64_t(bytes) != available) {
    throw InvalidData(cat(name, ": ", *header.descr, " ", to_string(*header.shape), " needs ", bytes, " bytes of data, the file has ", available));
  }
  bool transpose = *header.fortran && header.shape->size() > 1;
  Tensor tensor(dtype, transpose ? Shape{element_count(*header.shape)} : *header.shape, false);
  if (bytes) std::memcpy(tensor.mutable_raw(), chars + start + length, size_t(bytes));
  if (dtype == DType::kBool) std::for_each_n(tensor.mutable_raw(), tensor.size(), [](std::byte& b) { b = std::byte(b != std::byte(0)); });
  return transpose ? from_fortran(tensor, *header.shape) : tensor;
}

Tensor read_npy(const std::filesystem::path& path) { return parse_npy(map_file(path).span(), path.string()); }

void write_npy(const std::filesystem::path& path, const Tensor& given) {
  Tensor tensor = given.dtype() == DType::kBF16 ? given.to(DType::kF32) : given;
  auto type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Description& d) { return d.dtype == tensor.dtype(); });
  LACUNA_ASSERT(type != std::end(kTypes));
  std::string shape;
  for (int64_t d : tensor.shape()) shape += cat(d, ", ");
  if (shape.size() > 2 && tensor.rank() > 1) shape.resize(shape.size() - 2);
  if (tensor.rank() == 1) shape.resize(shape.size() - 1);
  std::string header =
      cat("{'descr': '", bits_of(tensor.dtype()) == 8 ? "|" : "<", type->text, "', 'fortran_order': False, 'shape': (", shape, "), }");
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  uint16_t length = uint16_t(header.size());
  OutputFile file(path);
  file.append(std::string_view("\x93NUMPY\x01\x00", 8));
  file.append(std::as_bytes(std::span(&length, 1)));
  file.append(header);
  file.append(tensor.bytes().span());
  file.commit();
}

}  // namespace lacuna
