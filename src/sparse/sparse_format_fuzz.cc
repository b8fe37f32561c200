// Any bytes as the parts of an encoded matrix: validate() must refuse them or they must decode and encode to themselves.
// Input: format, type, rows, cols, n, m, inner, block rows, block cols (a byte each), then per part a type, a count of dimensions, the
// dimensions and as many of the bytes left as the part needs.
#include <cstdlib>

#include "sparse/testing.h"

namespace {

struct Input {
  const uint8_t* data;
  size_t size;
  uint8_t next() { return size ? size--, *data++ : 0; }
};

lacuna::Tensor read_part(Input& in) {
  auto type = lacuna::DType(in.next() % 15);
  lacuna::Shape shape(in.next() % 4);
  for (int64_t& d : shape) d = in.next();
  if (lacuna::element_count(shape) > 1 << 16) shape = {0};
  lacuna::Tensor part(type, shape);
  for (size_t i = 0; i < part.size_bytes(); i++) part.mutable_raw()[i] = std::byte(in.next());
  return part;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr const char* kParts[] = {"values", "mask", "indices", "row_offsets", "col_offsets", "row_indices", "col_indices", "kept_zeros"};
  constexpr unsigned kUsed[] = {0b10000001, 0b11, 0b101, 0b1101, 0b1101, 0b10101, 0b1100001};  // parts of each format, in the order of formats.def
  Input in{data, size};
  size_t format = in.next() % lacuna::formats().size();
  lacuna::EncodedMatrix encoded;
  encoded.format = lacuna::formats()[format].name;
  encoded.type = lacuna::DType(in.next() % 15);
  encoded.rows = in.next(), encoded.cols = in.next();
  encoded.parameters = {.n = in.next(), .m = in.next(), .inner = in.next(), .block_rows = in.next(), .block_cols = in.next()};
  for (size_t p = 0; p < std::size(kParts); p++)
    if (kUsed[format] >> p & 1)
      if (p != 7 || in.next() % 2) encoded.parts[kParts[p]] = read_part(in);
  if (!lacuna::testing::broken_promise(encoded).empty()) std::abort();
  return 0;
}
