// Shapes and movement of elements.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

// y[i] = x[offset + sum of index * strides]: transpose, slice, expand and friends.
void copy_strided(const OpCall& call, const Tensor& x, const Shape& shape, const std::vector<int64_t>& strides, int64_t offset = 0,
                  size_t output = 0) {
  Tensor& y = call.make(output, x.dtype(), shape);
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each<1>(shape, {strides}, [&](int64_t i, auto& at) { elements<T>(y)[i] = elements<T>(x)[offset + at[0]]; });
  });
}

Tensor checked_reshape(const OpCall& call, const Tensor& x, const Shape& shape) {
  for (int64_t d : shape)
    if (d < 0) call.fail(cat("asks for shape ", to_string(shape)));
  if (element_count(shape) != x.size()) call.fail(cat("an input ", to_string(x.shape()), " cannot become ", to_string(shape)));
  return x.reshaped(shape);
}

}  // namespace

void shape_of(const OpCall& call) {
  const Shape& shape = call.in(0).shape();
  int64_t rank = int64_t(shape.size());
  auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  int64_t start = clamp(call.integer("start", 0)), end = std::max(start, clamp(call.integer("end", rank)));
  Tensor& y = call.make(0, DType::kS64, {end - start});
  std::copy(shape.begin() + start, shape.begin() + end, elements<int64_t>(y));
}

void size_of(const OpCall& call) { elements<int64_t>(call.make(0, DType::kS64, {}))[0] = call.in(0).size(); }

void reshape(const OpCall& call) {
  const Tensor& x = call.in(0);
  Shape shape = integers_of(call.in(1));
  bool allow_zero = call.integer("allowzero", 0) != 0;
  int64_t open = -1, rest = 1;
  for (size_t i = 0; i < shape.size(); i++) {
    if (shape[i] == 0 && !allow_zero) {
      if (i >= x.shape().size()) call.fail(cat("shape ", to_string(shape), " copies dimension ", i, " of an input ", to_string(x.shape())));
      shape[i] = x.shape()[i];
    }
    if (shape[i] != -1)
      rest *= shape[i];
    else if (open >= 0)
      call.fail(cat("shape ", to_string(shape), " has two entries of -1"));
    else
      open = int64_t(i);
  }
  if (open >= 0) shape[size_t(open)] = rest ? x.size() / rest : 0;
  call.share(0, checked_reshape(call, x, shape));
}

void flatten(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t axis = call.integer("axis", 1);
  if (axis != x.rank()) axis = axis_of(call, axis, x.rank());
  int64_t rows = element_count(std::span(x.shape()).subspan(0, size_t(axis))), cols = element_count(std::span(x.shape()).subspan(size_t(axis)));
  call.share(0, x.reshaped({rows, cols}));
}

void transpose(const OpCall& call) {
  const Tensor& x = call.in(0);
  Shape perm = call.integers("perm");
  if (!call.node.attributes.has("perm"))
    for (int64_t i = x.rank(); i-- > 0;) perm.push_back(i);
  if (int64_t(perm.size()) != x.rank()) call.fail(cat("perm ", to_string(perm), " does not fit a tensor with ", x.rank(), " dimensions"));
  auto own = strides_of(x.shape());
  Shape shape, strides;
  for (int64_t axis : perm) {
    shape.push_back(x.dim(axis_of(call, axis, x.rank())));
    strides.push_back(own[size_t(axis)]);
  }
  copy_strided(call, x, shape, strides);
}

void squeeze(const OpCall& call) {
  const Tensor& x = call.in(0);
  bool given = call.has(1) || call.node.attributes.has("axes");
  std::vector<bool> dropped(x.shape().size());
  for (int64_t axis : integers_of(call, 1, "axes")) dropped[size_t(axis_of(call, axis, x.rank()))] = true;
  Shape shape;
  for (size_t i = 0; i < x.shape().size(); i++)
    if (given ? !dropped[i] : x.shape()[i] != 1) shape.push_back(x.shape()[i]);
  call.share(0, checked_reshape(call, x, shape));
}

void unsqueeze(const OpCall& call) {
  const Tensor& x = call.in(0);
  auto axes = integers_of(call, 1, "axes");
  size_t rank = x.shape().size() + axes.size();
  std::vector<bool> fresh(rank);
  for (int64_t axis : axes) fresh[size_t(axis_of(call, axis, int64_t(rank)))] = true;
  Shape shape;
  auto next = x.shape().begin();
  for (size_t i = 0; i < rank; i++) {
    if (!fresh[i] && next == x.shape().end()) call.fail(cat("axes ", axes, " repeat"));
    shape.push_back(fresh[i] ? 1 : *next++);
  }
  call.share(0, x.reshaped(shape));
}

void concat(const OpCall& call) {
  const Tensor& first = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", 0), first.rank());
  bool mixed = false;
  for (size_t n = 0; n < call.node.inputs.size(); n++) mixed = mixed || call.in(n).dtype() != first.dtype();
  Shape shape = first.shape();
  shape[size_t(axis)] = 0;
  std::vector<Tensor> parts;
  for (size_t n = 0; n < call.node.inputs.size(); n++) {
    parts.push_back(mixed ? as_f32(call.in(n)) : call.in(n));
    Shape other = parts.back().shape();
    if (other.size() != shape.size()) call.fail(cat("shapes ", to_string(first.shape()), " and ", to_string(other), " do not join"));
    shape[size_t(axis)] += other[size_t(axis)];
    other[size_t(axis)] = shape[size_t(axis)];
    if (other != shape)
      call.fail(cat("shapes ", to_string(first.shape()), " and ", to_string(parts.back().shape()), " do not join along axis ", axis));
  }
  Tensor& y = call.make(0, parts[0].dtype(), shape);
  AxisView v(shape, axis);
  size_t unit = size_t(bits_of(y.dtype()) / 8) * size_t(v.inner), row = unit * size_t(v.length), at = 0;
  for (const Tensor& part : parts) {
    size_t size = unit * size_t(part.dim(axis));
    for (int64_t o = 0; o < v.outer && size; o++) std::memcpy(y.mutable_raw() + size_t(o) * row + at, part.raw() + size_t(o) * size, size);
    at += size;
  }
}

void split(const OpCall& call) {
  const Tensor& x = call.in(0);
  int64_t axis = axis_of(call, call.integer("axis", 0), x.rank()), size = x.dim(axis), outputs = int64_t(call.node.outputs.size());
  auto sizes = integers_of(call, 1, "split");
  if (sizes.empty()) {  // equal parts, the last one may be smaller
    int64_t part = (size + outputs - 1) / outputs;
    for (int64_t i = 0; i < outputs; i++) sizes.push_back(std::clamp<int64_t>(size - i * part, 0, part));
  }
  int64_t total = 0;
  for (int64_t s : sizes) total += s < 0 ? size + 1 : s;
  if (int64_t(sizes.size()) != outputs || total != size) call.fail(cat("parts ", sizes, " do not fit ", size, " in ", outputs, " outputs"));
  auto strides = strides_of(x.shape());
  int64_t begin = 0;
  for (int64_t i = 0; i < outputs; i++) {
    Shape shape = x.shape();
    shape[size_t(axis)] = sizes[size_t(i)];
    if (call.node.outputs[size_t(i)] != kNoValue) copy_strided(call, x, shape, strides, begin * strides[size_t(axis)], size_t(i));
    begin += sizes[size_t(i)];
  }
}

SliceView slice_view(const OpCall& call, const Shape& x, const std::vector<int64_t>& starts, const std::vector<int64_t>& ends,
                     std::optional<std::vector<int64_t>> axes, std::optional<std::vector<int64_t>> steps) {
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < starts.size(); i++) axes->push_back(int64_t(i));
  }
  if (!steps) steps.emplace(starts.size(), 1);
  if (ends.size() != starts.size() || axes->size() != starts.size() || steps->size() != starts.size())
    call.fail("starts, ends, axes and steps differ in length");
  SliceView view{.shape = x, .strides = strides_of(x)};
  for (size_t i = 0; i < starts.size(); i++) {
    size_t axis = size_t(axis_of(call, (*axes)[i], int64_t(x.size())));
    int64_t size = x[axis], step = (*steps)[i];
    if (step == 0) call.fail("a step of 0");
    auto clamp = [&](int64_t v, int64_t low, int64_t high) {
      return std::clamp(v < 0 ? std::max(v, -size - 1) + size : v, low, std::max(low, high));
    };
    int64_t start = step > 0 ? clamp(starts[i], 0, size) : clamp(starts[i], 0, size - 1);
    int64_t end = step > 0 ? clamp(ends[i], 0, size) : clamp(ends[i], -1, size - 1);
    int64_t span = step > 0 ? end - start : start - end;
    uint64_t stride = step > 0 ? uint64_t(step) : uint64_t(0) - uint64_t(step);
    view.shape[axis] = span <= 0 || size == 0 ? 0 : int64_t((uint64_t(span) - 1) / stride) + 1;
    view.offset += start * view.strides[axis];
    view.strides[axis] *= view.shape[axis] > 1 ? step : 0;
  }
  return view;
}

void slice(const OpCall& call) {
  const Tensor& x = call.in(0);
  auto optional = [&](size_t input) { return call.has(input) ? std::optional(integers_of(call.in(input))) : std::nullopt; };
  SliceView view = slice_view(call, x.shape(), integers_of(call.in(1)), integers_of(call.in(2)), optional(3), optional(4));
  copy_strided(call, x, view.shape, view.strides, view.offset);
}

void expand(const OpCall& call) {
  const Tensor& x = call.in(0);
  Shape shape = broadcast_shapes(call, x.shape(), integers_of(call.in(1)));
  copy_strided(call, x, shape, broadcast_strides(x.shape(), shape));
}

void tile(const OpCall& call) {
  const Tensor& x = call.in(0);
  auto repeats = integers_of(call.in(1));
  if (int64_t(repeats.size()) != x.rank()) call.fail(cat("repeats ", repeats, " do not fit ", to_string(x.shape())));
  Shape shape = x.shape();
  for (size_t i = 0; i < shape.size(); i++) shape[i] *= repeats[i];
  Tensor& y = call.make(0, x.dtype(), shape);
  auto strides = strides_of(x.shape());
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for_each_index(shape, [&](std::span<const int64_t> index, int64_t i) {
      int64_t at = 0;
      for (size_t d = 0; d < index.size(); d++) at += index[d] % x.shape()[d] * strides[d];
      elements<T>(y)[i] = elements<T>(x)[at];
    });
  });
}

// Negative pads crop.
void pad(const OpCall& call) {
  const Tensor& x = call.in(0);
  auto pads = integers_of(call.in(1));
  auto axes = call.has(3) ? integers_of(call.in(3)) : std::vector<int64_t>();
  if (!call.has(3))
    for (int64_t i = 0; i < x.rank(); i++) axes.push_back(i);
  if (pads.size() != 2 * axes.size()) call.fail(cat("pads have ", pads.size(), " entries, wanted ", 2 * axes.size()));
  std::string mode = call.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
    call.fail(cat("mode is '", mode, "', known are constant, reflect, edge, wrap"));
  Shape shape = x.shape(), before(shape.size(), 0);
  for (size_t i = 0; i < axes.size(); i++) {
    size_t axis = size_t(axis_of(call, axes[i], x.rank()));
    before[axis] = pads[i];
    shape[axis] += pads[i] + pads[axes.size() + i];
  }
  Tensor& y = call.make(0, x.dtype(), shape);
  auto strides = strides_of(x.shape());
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    T fill = call.has(2) && call.in(2).size() > 0 && call.in(2).dtype() == x.dtype() ? elements<T>(call.in(2))[0] : T(0);
    for_each_index(shape, [&](std::span<const int64_t> index, int64_t i) {
      int64_t at = 0;
      bool inside = true;
      for (size_t d = 0; d < index.size(); d++) {
        int64_t p = index[d] - before[d], size = x.shape()[d];
        if (p < 0 || p >= size) {
          if (size == 0 && mode != "constant") call.fail("pads an empty axis with values of it");
          if (mode == "constant")
            inside = false;
          else if (mode == "edge")
            p = std::clamp<int64_t>(p, 0, size - 1);
          else if (mode == "wrap")
            p = (p % size + size) % size;
          else {
            int64_t period = std::max<int64_t>(1, 2 * (size - 1));
            p = (p % period + period) % period;
            if (p >= size) p = period - p;
          }
        }
        at += p * strides[d];
      }
      elements<T>(y)[i] = inside ? elements<T>(x)[at] : fill;
    });
  });
}

void constant_of_shape(const OpCall& call) {
  auto type = dtype_from_name(call.text("dtype", "f32"));
  if (!type || bits_of(*type) < 8) call.fail(cat("cannot make '", call.text("dtype", "f32"), "'"));
  double value = call.number("value", 0);
  Tensor& y = call.make(0, storage_type(*type), integers_of(call.in(0)));
  with_type(y.dtype(), [&](auto scalar) {
    using T = decltype(scalar);
    std::fill_n(elements<T>(y), y.size(), T(value));
  });
}

void range(const OpCall& call) {
  DType type = call.in(0).dtype();
  with_type(type, [&](auto scalar) {
    using T = decltype(scalar);
    for (size_t n = 0; n < 3; n++)
      if (call.in(n).size() != 1 || call.in(n).dtype() != type) call.fail("start, limit and delta must be scalars of one type");
    T start = elements<T>(call.in(0))[0], limit = elements<T>(call.in(1))[0], delta = elements<T>(call.in(2))[0];
    if (delta == T(0)) call.fail("delta is 0");
    double count = std::max(0.0, std::ceil((double(limit) - double(start)) / double(delta)));
    if (!(count < 1e12)) call.fail("the range is too long");
    Tensor& y = call.make(0, type, {int64_t(count)});
    for (int64_t i = 0; i < y.size(); i++) elements<T>(y)[i] = T(start + T(i) * delta);
  });
}

void trilu(const OpCall& call) {
  const Tensor& x = call.in(0);
  if (x.rank() < 2) call.fail(cat("input has shape ", to_string(x.shape()), ", wanted at least 2 dimensions"));
  bool upper = call.integer("upper", 1) != 0;
  int64_t k = call.has(1) ? int64_t(scalar_of(call, 1)) : 0, rows = x.dim(-2), cols = x.dim(-1);
  Tensor& y = call.make(0, x.dtype(), x.shape());
  with_width(x.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < x.size(); i++) {
      int64_t row = i / cols % rows, col = i % cols;
      elements<T>(y)[i] = (upper ? col >= row + k : col <= row + k) ? elements<T>(x)[i] : T(0);
    }
  });
}

void eye_like(const OpCall& call) {
  const Tensor& x = call.in(0);
  auto type = dtype_from_name(call.text("dtype", name_of(x.dtype())));
  if (!type || x.rank() != 2) call.fail(cat("cannot make a diagonal '", call.text("dtype", ""), "' like ", to_string(x.shape())));
  int64_t k = call.integer("k", 0);
  Tensor& y = call.make(0, storage_type(*type), x.shape());
  with_type(y.dtype(), [&](auto scalar) {
    using T = decltype(scalar);
    for (int64_t i = 0; i < y.size(); i++) elements<T>(y)[i] = T(i % x.dim(1) == i / x.dim(1) + k);
  });
}

}  // namespace lacuna::reference
