// Parts of encoded matrices: index arrays, and the checks that every validate() shares. Private to the storage formats.
#pragma once

#include <initializer_list>

#include "sparse/format.h"

namespace lacuna::storage {

// The smallest of u8, u16, u32, u64 that holds `largest`.
DType index_type(int64_t largest);
inline int64_t index_bytes(int64_t largest) { return bits_of(index_type(largest)) / 8; }
// Packs numbers in [0, largest].
Tensor pack_indices(std::span<const int64_t> values, int64_t largest);

// Reads or writes an index array of any width.
class Indices {
 public:
  explicit Indices(const Tensor& tensor) : raw_(tensor.raw()), bytes_(bits_of(tensor.dtype()) / 8), size_(tensor.size()) {}
  int64_t size() const { return size_; }
  // As unsigned: a u64 beyond int64 must be caught by the caller's range check.
  uint64_t operator[](int64_t i) const {
    const std::byte* at = raw_ + i * bytes_;
    switch (bytes_) {
      case 1: return uint8_t(*at);
      case 2: return load<uint16_t>(at);
      case 4: return load<uint32_t>(at);
      default: return load<uint64_t>(at);
    }
  }

 private:
  template <class T>
  static T load(const std::byte* at) {
    T v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  const std::byte* raw_;
  int64_t bytes_, size_;
};
class IndexWriter {
 public:
  IndexWriter(Tensor& tensor) : raw_(tensor.mutable_raw()), bytes_(bits_of(tensor.dtype()) / 8) {}
  void set(int64_t i, int64_t v) { __builtin_memcpy(raw_ + i * bytes_, &v, size_t(bytes_)); }  // little-endian hosts only

 private:
  std::byte* raw_;
  int64_t bytes_;
};

// Throws InvalidData: "csr 'row_offsets': FOUND, WANTED expected".
[[noreturn]] void reject(const EncodedMatrix& encoded, std::string_view part, const std::string& problem);
// The shape, the type, and that the parts are exactly `required` plus any of `optional`. Throws ResourceExhausted if the decoded matrix
// would not fit into memory: a sparse matrix of few bytes can claim any size.
void check_parts(const EncodedMatrix& encoded, std::initializer_list<std::string_view> required,
                 std::initializer_list<std::string_view> optional = {});
// The named part, which must have this dtype and shape.
const Tensor& checked_part(const EncodedMatrix& encoded, std::string_view part, DType dtype, const Shape& shape);
// The 1-D values part and how many there are, at most rows * cols; an odd count of nibbles ends in a zero nibble.
int64_t checked_value_count(const EncodedMatrix& encoded);
// Offsets [n + 1] from 0 to total, never descending.
void check_offsets(const EncodedMatrix& encoded, std::string_view part, int64_t n, int64_t total);
// Within each [offsets[i], offsets[i+1]) the indices ascend strictly and stay below `limit`.
void check_indices(const EncodedMatrix& encoded, std::string_view part, std::string_view offsets, int64_t n, int64_t limit);
// Whether the last `spare_bits` (< 8) high bits of the last byte are zero, and `raw` has `bytes` bytes.
void check_spare_bits(const EncodedMatrix& encoded, std::string_view part, int64_t used_bits);

// Throws InvalidArgument if the format refuses the matrix.
void require_accepts(const Format& format, const MaskedMatrix& matrix, const FormatParameters& parameters);
// An EncodedMatrix without parts yet.
EncodedMatrix header_of(const Format& format, const MaskedMatrix& matrix, const FormatParameters& parameters = {});

}  // namespace lacuna::storage
