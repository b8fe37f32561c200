// Gathering and scattering by indices, selection, and what follows detectors.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

int64_t index_in(const OpCall& call, int64_t index, int64_t size) {
  if (index < -size || index >= size) call.fail(cat("index ", index, " is outside of ", size, " elements"));
  return index < 0 ? index + size : index;
}

// target = reduce(target, value), by the attribute `reduction`.
template <class T>
void accumulate(const OpCall& call, const std::string& reduction, T& target, T value) {
  if (reduction == "none")
    target = value;
  else if (reduction == "add")
    target = T(target + value);
  else if (reduction == "mul")
    target = T(target * value);
  else if (reduction == "max")
    target = std::max(target, value);
  else if (reduction == "min")
    target = std::min(target, value);
  else
    call.fail(cat("reduction is '", reduction, "', known are none, add, mul, max, min"));
}

}  // namespace

// x [a..., n, b...], indices [i...] -> [a..., i..., b...]
void gather(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", 0), x.rank());
  auto indices = integers_of(call.in(1));
  Shape shape(x.shape().begin(), x.shape().begin() + axis);
  shape.insert(shape.end(), call.in(1).shape().begin(), call.in(1).shape().end());
  shape.insert(shape.end(), x.shape().begin() + axis + 1, x.shape().end());
  Tensor& y = call.make(0, x.dtype(), shape);
  AxisView v(x.shape(), axis);
  size_t block = size_t(v.inner) * size_t(bits_of(x.dtype()) / 8), at = 0;
  for (int64_t o = 0; o < v.outer && block; o++)
    for (int64_t index : indices) {
      std::memcpy(y.mutable_raw() + at, x.raw() + size_t(o * v.length + index_in(call, index, v.length)) * block, block);
      at += block;
    }
}

void gather_elements(const OpCall& call) {
  const Tensor &x = call.in(0), &indices = call.in(1);
  int64_t axis = axis_of(call, call.integer("axis", 0), x.rank());
  if (indices.rank() != x.rank()) call.fail(cat("indices ", to_string(indices.shape()), " do not fit ", to_string(x.shape())));
  auto index = integers_of(indices);
  auto strides = strides_of(x.shape());
  Tensor& y = call.make(0, x.dtype(), indices.shape());
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each_index(indices.shape(), [&](std::span<const int64_t> at, int64_t i) {
      int64_t offset = 0;
      for (size_t d = 0; d < at.size(); d++) offset += index_in(call, int64_t(d) == axis ? index[size_t(i)] : at[d], x.shape()[d]) * strides[d];
      elements<T>(y)[i] = elements<T>(x)[offset];
    });
  });
}

// x [b..., d...], indices [b..., i..., n] -> [b..., i..., d[n:]...]
void gather_nd(const OpCall& call) {
  const Tensor &x = call.in(0), &indices = call.in(1);
  int64_t batch_dims = call.integer("batch_dims", 0), depth = indices.rank() ? indices.dim(-1) : 0;
  if (batch_dims < 0 || indices.rank() <= batch_dims || batch_dims + depth > x.rank())
    call.fail(cat("indices ", to_string(indices.shape()), " with ", batch_dims, " batch dimensions do not fit ", to_string(x.shape())));
  auto index = integers_of(indices);
  Shape shape(indices.shape().begin(), indices.shape().end() - 1);
  shape.insert(shape.end(), x.shape().begin() + batch_dims + depth, x.shape().end());
  int64_t batches = element_count(std::span(x.shape()).subspan(0, size_t(batch_dims)));
  if (batches != element_count(std::span(indices.shape()).subspan(0, size_t(batch_dims)))) call.fail("batch dimensions differ");
  int64_t per_batch = batches && depth ? indices.size() / depth / batches : 0,
          block = element_count(std::span(x.shape()).subspan(size_t(batch_dims + depth)));
  auto strides = strides_of(x.shape());
  Tensor& y = call.make(0, x.dtype(), shape);
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t b = 0; b < batches; b++)
      for (int64_t i = 0; i < per_batch; i++) {
        int64_t offset = b * (x.size() / batches);
        for (int64_t d = 0; d < depth; d++)
          offset += index_in(call, index[size_t((b * per_batch + i) * depth + d)], x.dim(batch_dims + d)) * strides[size_t(batch_dims + d)];
        std::copy_n(elements<T>(x) + offset, block, elements<T>(y) + (b * per_batch + i) * block);
      }
  });
}

void scatter_elements(const OpCall& call) {
  const Tensor &x = call.in(0), &indices = call.in(1), &updates = call.in(2);
  int64_t axis = axis_of(call, call.integer("axis", 0), x.rank());
  if (indices.shape() != updates.shape() || indices.rank() != x.rank() || updates.dtype() != x.dtype())
    call.fail(cat("indices ", to_string(indices.shape()), " and updates ", to_string(updates.shape()), " do not fit ", to_string(x.shape())));
  std::string reduction = call.text("reduction", "none");
  auto index = integers_of(indices);
  auto strides = strides_of(x.shape());
  Tensor& y = call.make(0, x.dtype(), x.shape());
  std::memcpy(y.mutable_raw(), x.raw(), x.size_bytes());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each_index(indices.shape(), [&](std::span<const int64_t> at, int64_t i) {
      int64_t offset = 0;
      for (size_t d = 0; d < at.size(); d++) offset += index_in(call, int64_t(d) == axis ? index[size_t(i)] : at[d], x.shape()[d]) * strides[d];
      accumulate(call, reduction, elements<T>(y)[offset], elements<T>(updates)[i]);
    });
  });
}

// indices [i..., n], updates [i..., d[n:]...]
void scatter_nd(const OpCall& call) {
  const Tensor &x = call.in(0), &indices = call.in(1), &updates = call.in(2);
  int64_t depth = indices.rank() ? indices.dim(-1) : 0;
  if (indices.rank() < 1 || depth > x.rank() || updates.dtype() != x.dtype())
    call.fail(cat("indices ", to_string(indices.shape()), " do not fit ", to_string(x.shape())));
  int64_t block = element_count(std::span(x.shape()).subspan(size_t(depth)));
  int64_t count = element_count(std::span(indices.shape()).subspan(0, indices.shape().size() - 1));
  if (updates.size() != count * block) call.fail(cat("updates ", to_string(updates.shape()), " do not fit indices ", to_string(indices.shape())));
  std::string reduction = call.text("reduction", "none");
  auto index = integers_of(indices);
  auto strides = strides_of(x.shape());
  Tensor& y = call.make(0, x.dtype(), x.shape());
  std::memcpy(y.mutable_raw(), x.raw(), x.size_bytes());
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < count; i++) {
      int64_t offset = 0;
      for (int64_t d = 0; d < depth; d++) offset += index_in(call, index[size_t(i * depth + d)], x.dim(d)) * strides[size_t(d)];
      for (int64_t k = 0; k < block; k++) accumulate(call, reduction, elements<T>(y)[offset + k], elements<T>(updates)[i * block + k]);
    }
  });
}

// indices [i...], depth, values [off, on] -> a new axis of `depth`; indices outside are all off.
void one_hot(const OpCall& call) {
  const Tensor &indices = call.in(0), &values = call.in(2);
  int64_t depth = int64_t(scalar_of(call, 1)), axis = axis_of(call, call.integer("axis", -1), indices.rank() + 1);
  if (values.size() != 2 || depth < 0) call.fail(cat("values ", to_string(values.shape()), " or depth ", depth, " are not possible"));
  Tensor whole = is_float(indices.dtype()) ? indices.to(DType::kS64) : indices;
  auto index = integers_of(whole);
  Shape shape = indices.shape();
  shape.insert(shape.begin() + axis, depth);
  Tensor& y = call.make(0, values.dtype(), shape);
  AxisView v(shape, axis);
  with_width(values.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t o = 0; o < v.outer; o++)
      for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < v.inner; i++) {
          int64_t wanted = index[size_t(o * v.inner + i)];
          if (wanted < 0) wanted += depth;
          elements<T>(y)[(o * depth + k) * v.inner + i] = elements<T>(values)[wanted == k];
        }
  });
}

// [rank, count]
void non_zero(const OpCall& call) {
  const Tensor& x = call.in(0);
  std::vector<std::vector<int64_t>> found;
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each_index(x.shape(), [&](std::span<const int64_t> index, int64_t i) {
      if (elements<T>(x)[i] != T(0)) found.emplace_back(index.begin(), index.end());
    });
  });
  Tensor& y = call.make(0, DType::kS64, {x.rank(), int64_t(found.size())});
  for (size_t i = 0; i < found.size(); i++)
    for (size_t d = 0; d < found[i].size(); d++) elements<int64_t>(y)[d * found.size() + i] = found[i][d];
}

namespace {

struct Box {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

Box box_of(const float* p, bool center) {
  if (center) return {p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2};
  return {std::min(p[0], p[2]), std::min(p[1], p[3]), std::max(p[0], p[2]), std::max(p[1], p[3])};
}

float overlap(const Box& a, const Box& b) {
  float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top), width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (height <= 0 || width <= 0) return 0;
  float both = height * width, either = a.area() + b.area() - both;
  return either > 0 ? both / either : 0;
}

}  // namespace

// Greedy, per batch and class, in descending order of score. Rows of the result are (batch, class, box).
void non_max_suppression(const OpCall& call) {
  const Tensor &boxes = call.in(0), &scores = call.in(1);
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.dim(2) != 4 || boxes.dim(0) != scores.dim(0) || boxes.dim(1) != scores.dim(2))
    call.fail(cat("boxes ", to_string(boxes.shape()), " do not fit scores ", to_string(scores.shape())));
  int64_t limit = call.has(2) ? integers_of(call.in(2)).at(0) : 0, count = boxes.dim(1);
  float iou_limit = call.has(3) ? float(scalar_of(call, 3)) : 0,
        score_limit = call.has(4) ? float(scalar_of(call, 4)) : -std::numeric_limits<float>::infinity();
  bool center = call.integer("center_point_box", 0) != 0;
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < scores.dim(0); n++)
    for (int64_t c = 0; c < scores.dim(1); c++) {
      const float* score = elements<float>(scores) + (n * scores.dim(1) + c) * count;
      std::vector<int64_t> order;
      for (int64_t i = 0; i < count; i++)
        if (score[i] > score_limit) order.push_back(i);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
      std::vector<Box> kept;
      for (int64_t i : order) {
        if (int64_t(kept.size()) >= limit) break;
        Box box = box_of(elements<float>(boxes) + (n * count + i) * 4, center);
        if (std::any_of(kept.begin(), kept.end(), [&](const Box& other) { return overlap(box, other) > iou_limit; })) continue;
        kept.push_back(box);
        rows.insert(rows.end(), {n, c, i});
      }
    }
  Tensor& y = call.make(0, DType::kS64, {int64_t(rows.size() / 3), 3});
  std::copy(rows.begin(), rows.end(), elements<int64_t>(y));
}

// The k largest (or smallest) along an axis; ties keep the lower index first.
void top_k(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", -1), x.rank()), k = int64_t(scalar_of(call, 1));
  bool largest = call.integer("largest", 1) != 0;
  AxisView v(x.shape(), axis);
  if (k < 0 || k > v.length) call.fail(cat("k is ", k, ", axis ", axis, " has ", v.length));
  Shape shape = x.shape();
  shape[size_t(axis)] = k;
  Tensor &values = call.make(0, x.dtype(), shape), &indices = call.make(1, DType::kS64, shape);
  std::vector<int64_t> order(static_cast<size_t>(v.length));
  with_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t o = 0; o < v.outer; o++)
      for (int64_t i = 0; i < v.inner; i++) {
        auto at = [&](int64_t n) { return elements<T>(x)[(o * v.length + n) * v.inner + i]; };
        for (int64_t n = 0; n < v.length; n++) order[size_t(n)] = n;
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return largest ? at(a) > at(b) : at(a) < at(b); });
        for (int64_t n = 0; n < k; n++) {
          elements<T>(values)[(o * k + n) * v.inner + i] = at(order[size_t(n)]);
          elements<int64_t>(indices)[(o * k + n) * v.inner + i] = order[size_t(n)];
        }
      }
  });
}

}  // namespace lacuna::reference
