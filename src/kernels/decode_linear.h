// What the candidates for one to eight tokens share: a weight as one stream of bytes (inner/decode_float.h), and running it.
#pragma once

#include <memory>
#include <vector>

#include "kernels/inner/decode_float.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

struct DecodeLoop {
  DecodeFloat run = nullptr;
  int64_t pair_block = 0;  // order of the activations, see DecodeTask
  bool pairs = false;      // two groups at a time gain, see DecodeTask
};

struct DecodeStream {
  std::shared_ptr<std::byte[]> bytes;
  std::vector<int64_t> offsets;  // of each group of rows, and the end
};
inline int64_t decode_groups(int64_t rows) { return (rows + kDecodeRows - 1) / kDecodeRows; }
inline int64_t decode_chunks(int64_t cols) { return (cols + kDecodeCols - 1) / kDecodeCols; }

// Any number of tokens runs, eight at a time.
class DecodeLinear final : public PackedLinear {
 public:
  DecodeLinear(std::string_view name, DecodeLoop loop, int64_t rows, int64_t cols, DecodeStream stream)
      : name_(name), loop_(loop), rows_(rows), cols_(cols), chunks_(decode_chunks(cols)), stream_(std::move(stream)) {}

  std::string_view kernel() const override { return name_; }
  int64_t size_bytes() const override { return stream_.offsets.back() + int64_t(stream_.offsets.size() * sizeof(int64_t)); }
  Shape shape() const override { return {rows_, cols_}; }
  void run(const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const override;

 private:
  void fill_activations(const float* x, int64_t x_stride, int64_t first, int64_t tokens, int64_t lanes, float* out) const;
  void run_block(const float* x, int64_t x_stride, int64_t first, int64_t tokens, float* y, int64_t y_stride, const Epilogue& epilogue) const;
  void run_groups(int64_t begin, int64_t end, int64_t first, int64_t tokens, int64_t lanes, const float* activations, float* y, int64_t y_stride,
                  const Epilogue& epilogue) const;

  const std::byte* stream_of(int64_t group) const { return stream_.bytes.get() + stream_.offsets[size_t(group)]; }

  std::string_view name_;
  DecodeLoop loop_;
  int64_t rows_, cols_, chunks_;
  DecodeStream stream_;
};

}  // namespace lacuna::kernels
