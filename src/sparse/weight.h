// One weight of a model: a logical shape, an encoding, and where the bytes come from.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sparse/mask.h"
#include "tensor/tensor.h"

namespace lacuna {

// How a weight is seen as a matrix [rows = out_features, cols = in_features]: the view that masks, patterns,
// storage formats and kernels use.
enum class MatrixLayout {
  kNone,   // not a matrix (bias, norm scale, index constant)
  kOutIn,  // [out, in]: Hugging Face linear, embedding tables
  kInOut,  // [in, out]: ONNX MatMul, GPT-2; [in, out, k...] of a transposed convolution: rows are (out, k...)
  kConv,   // [out, in/groups, k...]: cols are (k..., in/groups), input channel fastest
};
std::string_view name_of(MatrixLayout layout) noexcept;

// Maps matrix positions to offsets of the source tensor.
struct MatrixView {
  MatrixView(MatrixLayout layout, std::span<const int64_t> shape);  // layout != kNone
  int64_t rows, cols;
  int64_t inner;  // consecutive columns of one kernel position (= in/groups for convolutions, cols otherwise); N:M groups and blocks stay inside
  int64_t offset(int64_t row, int64_t col) const {
    if (layout_ == MatrixLayout::kInOut) return col * rows + row;
    if (layout_ == MatrixLayout::kConv) return row * cols + (col % inner) * (cols / inner) + col / inner;
    return row * cols + col;
  }
  bool identity() const { return layout_ == MatrixLayout::kOutIn || (layout_ == MatrixLayout::kConv && cols == inner); }

 private:
  MatrixLayout layout_;
};

// How values are coded: value = (code - zero_point) * scale, or code * scale + minimum; with a mask, 0 where not kept.
struct Encoding {
  DType values = DType::kF32;
  // Scales: none (floats), or one per tensor, per row, or per `group` consecutive columns of a row (matrix view).
  enum class Granularity { kNone, kTensor, kRow, kGroup } granularity = Granularity::kNone;
  int64_t group = 0;             // columns per group, for kGroup
  bool has_zero_points = false;  // zero points, same granularity, dtype of values
  bool has_minima = false;       // minima, same granularity, dtype of scales
  DType scales = DType::kF32;    // dtype of scales and minima
  bool operator==(const Encoding&) const = default;
};
std::string to_string(const Encoding& encoding);  // "f32", "u4 g32 f16 min"

// A weight in memory, in its encoding. Codes are in source order (the logical shape); scales, zero points and minima
// are [1], [rows] or [rows, ceil(cols / group)].
struct WeightData {
  Tensor values;
  Tensor scales, zero_points, minima;  // empty when the encoding has none
  std::optional<Mask> mask;            // matrix view; nullopt: every weight is kept
};

// Where the bytes of a weight are; `load` may be called many times and from several threads, and keeps nothing.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual WeightData load() const = 0;
  virtual int64_t stored_bytes() const = 0;                      // bytes on disk, metadata of the encoding included
  virtual std::string stored_format() const { return "dense"; }  // "dense", "bitmask", "n_m", "csr", "bsr"
  virtual void drop() const {}                                   // forget cached pages
};

struct Weight {
  std::string name;
  Shape shape;  // logical, as in the source
  MatrixLayout layout = MatrixLayout::kNone;
  Encoding encoding;
  std::string pattern;  // what its mask obeys, "" if never pruned
  std::shared_ptr<const WeightSource> source;

  int64_t size() const { return element_count(shape); }
  WeightData load() const { return source->load(); }
};

// A source that holds its data in memory.
std::shared_ptr<const WeightSource> in_memory(WeightData data);

// Decoded values in source order, [shape] f32; zeros where not kept.
Tensor decode_f32(const Weight& weight, const WeightData& data);
// Decoded rows [first, first + count) of the matrix view into out [count, cols]. Requires a matrix layout.
void decode_rows(const Weight& weight, const WeightData& data, int64_t first, int64_t count, float* out);

// Codes of rows [first, first + count) of the matrix view in its order, without scales and mask; codes of four bits as bytes. They stay in the
// source if they lie so there, else they are put into `scratch`.
struct CodeRows {
  DType type;
  const std::byte* data;  // [count, cols]
};
CodeRows code_rows(const Tensor& values, const MatrixView& view, int64_t first, int64_t count, std::vector<std::byte>& scratch);

// Keeps what is not zero; of one row, all of whose bits are written.
void keep_nonzero(const float* row, Mask& mask, int64_t r);
Mask mask_of_zeros(std::span<const float> values, int64_t rows, int64_t cols);
// Of a float matrix of which a tenth or more is exactly zero: another tool pruned it, and those zeros are its mask. `values` in matrix order.
std::optional<Mask> mask_of_pruned(const Weight& weight, std::span<const float> values);

// The weights of a model, referred to by id. Tying is two references to one id.
using WeightId = int32_t;
class WeightTable {
 public:
  // Throws InvalidData if the name is taken.
  WeightId add(Weight weight);
  const Weight& operator[](WeightId id) const { return weights_[size_t(id)]; }
  Weight& edit(WeightId id) { return weights_[size_t(id)]; }  // its name stays
  WeightId find(std::string_view name) const;                 // -1 if absent
  int64_t size() const { return int64_t(weights_.size()); }
  auto begin() const { return weights_.begin(); }
  auto end() const { return weights_.end(); }

 private:
  std::vector<Weight> weights_;
  std::map<std::string, WeightId, std::less<>> ids_;  // by name
};

}  // namespace lacuna
