// Shapes and movement of whole blocks; the elements of small integer tensors move along.
#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

// A dimension that an element gives: constants below 0 are refused.
Dim size_from(const InferContext& context, const Dim& d) {
  if (d.is_constant() && d.value() < 0) context.fail(cat("asks for a size of ", d.value()));
  return d;
}

// The elements of a shape input, or fresh unknowns if only their number is known; nullopt if not even that.
std::optional<SymShape> shape_input(const InferContext& context, size_t i) {
  expect_rank(context, i, 1);
  if (auto* known = context.elements(i)) return *known;
  auto* shape = context.shape(i);
  if (!shape || shape->size() != 1 || !(*shape)[0].is_constant() || (*shape)[0].value() > 64) return std::nullopt;
  SymShape out;
  for (size_t k = 0; k < size_t((*shape)[0].value()); k++) out.push_back(context.unknown(0, k));
  return out;
}

void carry_elements(InferContext& context) {
  if (auto* elements = context.elements(0)) context.set_elements(0, *elements);
}

void shape_of(InferContext& context) {
  auto* x = context.shape(0);
  if (!x) return context.set(0, DType::kS64, SymShape{context.unknown(0, 0)});
  int64_t rank = int64_t(x->size());
  auto clamp = [&](int64_t v) { return std::clamp(v < 0 ? v + rank : v, int64_t(0), rank); };
  int64_t start = clamp(context.attributes().integer("start", 0)), end = std::max(start, clamp(context.attributes().integer("end", rank)));
  context.set(0, DType::kS64, SymShape{Dim(end - start)});
  context.set_elements(0, {x->begin() + start, x->begin() + end});
}

void size_of(InferContext& context) {
  context.set(0, DType::kS64, SymShape{});
  if (auto* x = context.shape(0)) context.set_elements(0, {product(*x)});
}

// 0 copies (unless allowzero), one -1 is what is left over.
void reshape(InferContext& context) {
  const Fact& x = context.input(0);
  bool known = context.elements(1) != nullptr;
  auto wanted = shape_input(context, 1);
  if (!wanted) return context.set(0, x.dtype, std::nullopt);
  SymShape shape = *wanted;
  bool allow_zero = context.attributes().integer("allowzero", 0) != 0;
  std::optional<size_t> open;
  Dim rest(1);   // product of the dimensions other than the open one
  Dim total(1);  // elements of the input, without the copied dimensions
  if (x.shape) total = product(*x.shape);
  for (size_t i = 0; i < shape.size(); i++) {
    if (shape[i] == Dim(-1)) {
      if (open) context.fail(cat("shape ", to_string(*wanted), " has two entries of -1"));
      open = i;
      continue;
    }
    if (shape[i] == Dim(0) && !allow_zero) {
      if (x.shape && i >= x.shape->size())
        context.fail(cat("shape ", to_string(*wanted), " copies dimension ", i, " of an input ", to_string(*x.shape)));
      shape[i] = x.shape ? (*x.shape)[i] : context.unknown(0, i);
    }
    size_from(context, shape[i]);
    rest = rest * shape[i];
  }
  auto mismatch = [&] { context.fail(cat("an input ", to_string(*x.shape), " cannot become ", to_string(*wanted))); };
  if (open) {
    shape[*open] = context.unknown(0, *open);
    if (x.shape && total.is_constant() && rest.is_constant()) {
      if (rest.value() == 0 ? total.value() != 0 : total.value() % rest.value() != 0) mismatch();
      shape[*open] = rest.value() == 0 ? Dim(0) : Dim(total.value() / rest.value());
    } else if (x.shape && known && !(rest == Dim(0))) {
      shape[*open] = floor_div(total, rest);
    }
  } else if (x.shape && known && total.is_constant() && rest.is_constant() && !(total == rest)) {
    mismatch();
  }
  context.set(0, x.dtype, shape);
  carry_elements(context);
}

void flatten(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, x.dtype, SymShape{context.unknown(0, 0), context.unknown(0, 1)});
  int64_t rank = int64_t(x.shape->size()), axis = context.attributes().integer("axis", 1);
  if (axis < -rank || axis > rank) context.fail(cat("axis ", axis, " is outside of a tensor with ", rank, " dimensions"));
  size_t at = size_t(axis < 0 ? axis + rank : axis);
  context.set(0, x.dtype, SymShape{product(*x.shape, 0, at), product(*x.shape, at)});
  carry_elements(context);
}

void transpose(InferContext& context) {
  const Fact& x = context.input(0);
  auto perm = context.attributes().integers("perm");
  if (!context.attributes().has("perm") && x.shape)
    for (size_t i = x.shape->size(); i-- > 0;) perm.push_back(int64_t(i));
  auto sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); i++)
    if (sorted[i] != int64_t(i)) context.fail(cat("perm ", perm, " is no permutation"));
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  if (perm.size() != x.shape->size()) context.fail(cat("perm ", perm, " does not fit a tensor with ", x.shape->size(), " dimensions"));
  SymShape shape;
  for (int64_t axis : perm) shape.push_back((*x.shape)[size_t(axis)]);
  context.set(0, x.dtype, shape);
  auto* elements = context.elements(0);
  if (!elements) return;
  auto in = *constant_shape(*x.shape), out = *constant_shape(shape);
  std::vector<int64_t> stride(in.size(), 1);
  for (size_t i = in.size(); i-- > 1;) stride[i - 1] = stride[i] * in[i];
  std::vector<Dim> moved;
  for (int64_t at = 0; at < int64_t(elements->size()); at++) {
    int64_t rest = at, offset = 0;
    for (size_t k = out.size(); k-- > 0; rest /= out[k]) offset += rest % out[k] * stride[size_t(perm[k])];
    moved.push_back((*elements)[size_t(offset)]);
  }
  context.set_elements(0, std::move(moved));
}

void squeeze(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  bool given;
  auto axes = axes_of(context, 1, int64_t(x.shape->size()), given);
  if (given && !axes) return context.set(0, x.dtype, std::nullopt);
  SymShape shape;
  for (size_t i = 0; i < x.shape->size(); i++) {
    const Dim& d = (*x.shape)[i];
    bool named = given && std::find(axes->begin(), axes->end(), int64_t(i)) != axes->end();
    if (named && d.is_constant() && d.value() != 1) context.fail(cat("axis ", i, " of ", to_string(*x.shape), " is not 1"));
    if (!given && !d.is_constant()) return context.set(0, x.dtype, std::nullopt);  // 1 or not, only the run can tell
    if (!(given ? named : d == Dim(1))) shape.push_back(d);
  }
  context.set(0, x.dtype, shape);
  carry_elements(context);
}

void unsqueeze(InferContext& context) {
  const Fact& x = context.input(0);
  if (!context.has_input(1) && !context.attributes().has("axes")) context.fail("axes are missing");
  auto raw = context.has_input(1) ? context.constants(1) : context.attributes().integers("axes");
  if (!x.shape || !raw) return context.set(0, x.dtype, std::nullopt);
  if (raw->size() > 64) context.fail(cat(raw->size(), " axes"));
  size_t rank = x.shape->size() + raw->size();
  std::vector<bool> fresh(rank);
  for (int64_t axis : *raw) {
    axis = normalise_axis(axis, int64_t(rank), context);
    if (fresh[size_t(axis)]) context.fail(cat("axis ", axis, " is named twice"));
    fresh[size_t(axis)] = true;
  }
  SymShape shape;
  auto next = x.shape->begin();
  for (size_t i = 0; i < rank; i++) shape.push_back(fresh[i] ? Dim(1) : *next++);
  context.set(0, x.dtype, shape);
  carry_elements(context);
}

void concat(InferContext& context) {
  size_t inputs = context.input_count();
  DType dtype = context.input(0).dtype;
  for (size_t i = 1; i < inputs; i++) dtype = promote(dtype, context.input(i).dtype);
  for (size_t i = 0; i < inputs; i++)
    if (!context.shape(i)) return context.set(0, dtype, std::nullopt);
  SymShape shape = *context.shape(0);
  if (!context.attributes().has("axis")) context.fail("attribute 'axis' is missing");
  size_t axis = size_t(normalise_axis(context.attributes().integer("axis", 0), int64_t(shape.size()), context));
  for (size_t i = 1; i < inputs; i++) {
    const SymShape& other = *context.shape(i);
    expect_rank(context, i, shape.size());
    for (size_t k = 0; k < shape.size(); k++) {
      if (k == axis) {
        shape[k] = shape[k] + other[k];
        continue;
      }
      expect_equal(context, shape[k], other[k], cat("sizes of axis ", k, " of inputs 0 and ", i));
      if (other[k].is_constant()) shape[k] = other[k];
    }
  }
  context.set(0, dtype, shape);
  auto out = constant_shape(shape);
  if (!out || is_float(dtype) || element_count(*out) > kMaxElements) return;
  // A vector with parts that are not known still has a length: their elements become unknowns.
  std::vector<SymShape> unknowns(inputs);
  std::vector<const std::vector<Dim>*> parts(inputs);
  bool any = false;
  for (size_t i = 0, at = 0; i < inputs; i++) {
    parts[i] = context.elements(i);
    any = any || parts[i];
    auto count = size_t(element_count(*constant_shape(*context.shape(i))));
    if (!parts[i]) {
      if (shape.size() != 1 || count > 8) return;
      for (size_t k = 0; k < count; k++) unknowns[i].push_back(context.unknown(0, at + k));
      parts[i] = &unknowns[i];
    }
    at += count;
  }
  if (!any) return;
  std::vector<Dim> joined;
  Blocks blocks = blocks_of(*out, int64_t(axis));
  for (int64_t o = 0; o < blocks.outer; o++)
    for (size_t i = 0; i < inputs; i++) {
      int64_t run = blocks_of(*constant_shape(*context.shape(i)), int64_t(axis)).axis * blocks.inner;
      joined.insert(joined.end(), parts[i]->begin() + o * run, parts[i]->begin() + (o + 1) * run);
    }
  context.set_elements(0, std::move(joined));
}

// Elements of positions along an axis of a known input become those of an output.
void pick_elements(InferContext& context, size_t output, int64_t axis, std::span<const int64_t> positions) {
  auto* elements = context.elements(0);
  if (!elements) return;
  Blocks blocks = blocks_of(*constant_shape(*context.shape(0)), axis);
  std::vector<Dim> picked;
  for (int64_t o = 0; o < blocks.outer; o++)
    for (int64_t p : positions)
      for (int64_t i = 0; i < blocks.inner; i++) picked.push_back((*elements)[size_t((o * blocks.axis + p) * blocks.inner + i)]);
  context.set_elements(output, std::move(picked));
}

void split(InferContext& context) {
  const Fact& x = context.input(0);
  size_t outputs = context.output_count();
  int64_t parts = context.attributes().integer("num_outputs", int64_t(outputs));
  if (parts != int64_t(outputs)) context.fail(cat("num_outputs is ", parts, ", the node has ", outputs));
  if (!x.shape) {
    for (size_t i = 0; i < outputs; i++) context.set(i, x.dtype, std::nullopt);
    return;
  }
  int64_t axis = normalise_axis(context.attributes().integer("axis", 0), int64_t(x.shape->size()), context);
  const Dim size = (*x.shape)[size_t(axis)];
  std::vector<Dim> sizes;
  if (context.has_input(1)) {
    if (auto* known = context.elements(1))
      sizes = *known;
    else
      for (size_t i = 0; i < outputs; i++) sizes.push_back(context.unknown(i, size_t(axis)));
  } else if (context.attributes().has("split")) {
    for (int64_t s : context.attributes().integers("split")) sizes.push_back(Dim(s));
  } else {  // equal parts, the last one may be smaller
    Dim part = ceil_div(size, Dim(parts)), rest = size;
    for (size_t i = 0; i + 1 < outputs; i++) {
      sizes.push_back(part);
      rest = rest - part;
    }
    sizes.push_back(rest);
  }
  if (sizes.size() != outputs) context.fail(cat("split has ", sizes.size(), " parts, the node has ", outputs, " outputs"));
  Dim total(0);
  for (const Dim& s : sizes) total = total + size_from(context, s);
  expect_equal(context, total, size, "the sum of the parts and the axis");
  int64_t begin = 0;
  for (size_t i = 0; i < outputs; i++) {
    SymShape shape = *x.shape;
    shape[size_t(axis)] = sizes[i];
    context.set(i, x.dtype, shape);
    if (!context.elements(0) || !sizes[i].is_constant()) continue;
    std::vector<int64_t> positions;
    for (int64_t p = 0; p < sizes[i].value(); p++) positions.push_back(begin + p);
    pick_elements(context, i, axis, positions);
    begin += sizes[i].value();
  }
}

// A slice bound: from the end if negative, clamped to [low, size - high].
Dim clamped(const InferContext& context, size_t axis, const Dim& bound, const Dim& size, int64_t low, int64_t high) {
  Dim limit = size - Dim(high);
  if (bound.is_constant()) {
    int64_t v = bound.value();
    if (v >= INT32_MAX) return limit;
    if (v <= -INT32_MAX) return Dim(low);
    if (v >= 0) return min(bound, limit);
    return max(size + bound, Dim(low));
  }
  if (is_less(bound, Dim(0)) == false) return min(bound, limit);
  if (is_less(bound, Dim(0)) == true) return max(size + bound, Dim(low));
  return context.unknown(0, axis);
}

void slice(InferContext& context) {
  const Fact& x = context.input(0);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  int64_t rank = int64_t(x.shape->size());
  auto *starts = context.elements(1), *ends = context.elements(2);
  auto axes = context.constants(3), steps = context.constants(4);
  SymShape shape = *x.shape;
  bool axes_known = axes || !context.has_input(3);
  if (!axes_known) {
    for (size_t i = 0; i < shape.size(); i++) shape[i] = context.unknown(0, i);
    return context.set(0, x.dtype, shape);
  }
  size_t count = axes ? axes->size() : starts ? starts->size() : ends ? ends->size() : size_t(rank);
  if (!axes && context.shape(1) && context.shape(1)->size() == 1 && (*context.shape(1))[0].is_constant())
    count = size_t((*context.shape(1))[0].value());
  if (int64_t(count) > rank) context.fail(cat("slices ", count, " axes of ", rank));
  if ((starts && starts->size() != count) || (ends && ends->size() != count) || (steps && steps->size() != count))
    context.fail("starts, ends, axes and steps differ in length");
  bool all_constant = starts && ends && (steps || !context.has_input(4));
  std::vector<std::pair<int64_t, std::vector<int64_t>>> picks;
  for (size_t i = 0; i < count; i++) {
    int64_t axis = normalise_axis(axes ? (*axes)[i] : int64_t(i), rank, context);
    Dim& d = shape[size_t(axis)];
    int64_t step = steps ? (*steps)[i] : 1;
    if (step == 0) context.fail("a step of 0");
    if (!starts || !ends || (context.has_input(4) && !steps)) {
      d = context.unknown(0, size_t(axis));
      continue;
    }
    const Dim size = (*x.shape)[size_t(axis)];
    Dim start = clamped(context, size_t(axis), (*starts)[i], size, 0, step > 0 ? 0 : 1);
    Dim end = clamped(context, size_t(axis), (*ends)[i], size, step > 0 ? 0 : -1, step > 0 ? 0 : 1);
    if (step < 0 && step > -INT32_MAX)
      d = max(ceil_div(start - end, Dim(-step)), Dim(0));
    else
      d = step > INT32_MAX || step < 0 ? min(max(end - start, Dim(0)), Dim(1)) : max(ceil_div(end - start, Dim(step)), Dim(0));
    if (!start.is_constant() || !d.is_constant()) {
      all_constant = false;
      continue;
    }
    std::vector<int64_t> positions;
    if (context.elements(0))
      for (int64_t k = 0; k < d.value(); k++) positions.push_back(start.value() + k * step);
    picks.emplace_back(axis, std::move(positions));
  }
  context.set(0, x.dtype, shape);
  if (!all_constant || !context.elements(0)) return;
  if (picks.size() == 1) return pick_elements(context, 0, picks[0].first, picks[0].second);
  if (picks.empty()) carry_elements(context);
}

void expand(InferContext& context) {
  const Fact& x = context.input(0);
  auto wanted = shape_input(context, 1);
  if (!wanted || !x.shape) return context.set(0, x.dtype, std::nullopt);
  for (const Dim& d : *wanted) size_from(context, d);
  SymShape shape = broadcast(*x.shape, *wanted, "expand");
  context.set(0, x.dtype, shape);
  auto* elements = context.elements(0);
  if (elements && elements->size() == 1) {
    auto out = constant_shape(shape);
    if (out && element_count(*out) <= kMaxElements) context.set_elements(0, std::vector<Dim>(size_t(element_count(*out)), (*elements)[0]));
  }
}

void tile(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 1, 1);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  SymShape shape = *x.shape;
  auto* repeats = context.elements(1);
  if (repeats && repeats->size() != shape.size()) context.fail(cat("repeats has ", repeats->size(), " entries, wanted ", shape.size()));
  for (size_t i = 0; i < shape.size(); i++) shape[i] = repeats ? shape[i] * size_from(context, (*repeats)[i]) : context.unknown(0, i);
  context.set(0, x.dtype, shape);
  auto* elements = context.elements(0);
  auto out = constant_shape(shape);
  if (!elements || !out || shape.size() != 1 || element_count(*out) > kMaxElements || elements->empty()) return;
  std::vector<Dim> repeated;
  while (int64_t(repeated.size()) < (*out)[0]) repeated.insert(repeated.end(), elements->begin(), elements->end());
  context.set_elements(0, std::move(repeated));
}

void pad(InferContext& context) {
  const Fact& x = context.input(0);
  expect_rank(context, 1, 1);
  if (!x.shape) return context.set(0, x.dtype, std::nullopt);
  int64_t rank = int64_t(x.shape->size());
  SymShape shape = *x.shape;
  auto* pads = context.elements(1);
  auto axes = context.constants(3);
  if (!axes && !context.has_input(3)) {
    axes.emplace();
    for (int64_t i = 0; i < rank; i++) axes->push_back(i);
  }
  if (!axes || !pads) {
    for (size_t i = 0; i < shape.size(); i++) shape[i] = context.unknown(0, i);
    return context.set(0, x.dtype, shape);
  }
  if (pads->size() != 2 * axes->size()) context.fail(cat("pads has ", pads->size(), " entries, wanted ", 2 * axes->size()));
  for (size_t i = 0; i < axes->size(); i++) {
    Dim& d = shape[size_t(normalise_axis((*axes)[i], rank, context))];
    d = d + (*pads)[i] + (*pads)[axes->size() + i];
  }
  context.set(0, x.dtype, shape);
}

void constant_of_shape(InferContext& context) {
  std::string name = context.attributes().text("dtype", "f32");
  auto dtype = dtype_from_name(name);
  if (!dtype) context.fail(cat("attribute 'dtype' is '", name, "', which is no dtype"));
  auto shape = shape_input(context, 0);
  if (!shape) return context.set(0, *dtype, std::nullopt);
  for (const Dim& d : *shape) size_from(context, d);
  context.set(0, *dtype, shape);
  double value = context.attributes().number("value", 0);
  auto out = constant_shape(*shape);
  if (out && element_count(*out) <= kMaxElements && value == double(int64_t(std::clamp(value, -1e15, 1e15))))
    context.set_elements(0, std::vector<Dim>(size_t(element_count(*out)), Dim(int64_t(value))));
}

void range(InferContext& context) {
  DType dtype = context.input(0).dtype;
  for (size_t i = 0; i < 3; i++)
    if (auto* shape = context.shape(i); shape && !shape->empty() && product(*shape) != Dim(1)) context.fail("start, limit and delta are scalars");
  auto *start = context.elements(0), *limit = context.elements(1), *delta = context.elements(2);
  SymShape shape = {context.unknown(0, 0)};
  if (start && limit && delta && (*delta)[0].is_constant()) {
    int64_t step = (*delta)[0].value();
    if (step == 0) context.fail("delta is 0");
    Dim length = (*limit)[0] - (*start)[0];
    shape[0] = max(step > 0 ? ceil_div(length, Dim(step)) : ceil_div(Dim(0) - length, Dim(0) - Dim(step)), Dim(0));
  } else if (auto a = context.numbers(0), b = context.numbers(1), d = context.numbers(2);
             a && b && d && a->size() == 1 && b->size() == 1 && d->size() == 1) {
    double count = (*d)[0] == 0 ? -1 : std::ceil(((*b)[0] - (*a)[0]) / (*d)[0]);
    if (!(count < 1e12)) context.fail("the range is too long");
    if ((*d)[0] == 0) context.fail("delta is 0");
    shape[0] = Dim(std::max(int64_t(0), int64_t(std::max(count, 0.0))));
  }
  context.set(0, dtype, shape);
  if (!start || !delta || !shape[0].is_constant() || shape[0].value() > kMaxElements) return;
  std::vector<Dim> elements;
  for (int64_t i = 0; i < shape[0].value(); i++) elements.push_back((*start)[0] + (*delta)[0] * Dim(i));
  context.set_elements(0, std::move(elements));
}

void trilu(InferContext& context) {
  expect_rank(context, 0, 2, true);
  same_as_input(context);
}

void eye_like(InferContext& context) {
  expect_rank(context, 0, 2);
  DType dtype = context.input(0).dtype;
  if (context.attributes().has("dtype")) {
    std::string name = context.attributes().text("dtype", "");
    auto named = dtype_from_name(name);
    if (!named) context.fail(cat("attribute 'dtype' is '", name, "', which is no dtype"));
    dtype = *named;
  }
  context.set(0, dtype, context.input(0).shape);
}

const OpSchema kSchemas[] = {
    {Op::shape_of, 1, 1, 1, 1, {"start", "end"}, shape_of},
    {Op::size_of, 1, 1, 1, 1, {}, size_of},
    {Op::reshape, 2, 2, 1, 1, {"allowzero"}, reshape},
    {Op::flatten, 1, 1, 1, 1, {"axis"}, flatten},
    {Op::transpose, 1, 1, 1, 1, {"perm"}, transpose},
    {Op::squeeze, 1, 2, 1, 1, {"axes"}, squeeze},
    {Op::unsqueeze, 1, 2, 1, 1, {"axes"}, unsqueeze},
    {Op::concat, 1, -1, 1, 1, {"axis"}, concat},
    {Op::split, 1, 2, 1, -1, {"axis", "split", "num_outputs"}, split},
    {Op::slice, 3, 5, 1, 1, {}, slice},
    {Op::expand, 2, 2, 1, 1, {}, expand},
    {Op::tile, 2, 2, 1, 1, {}, tile},
    {Op::pad, 2, 4, 1, 1, {"mode"}, pad},
    {Op::constant_of_shape, 1, 1, 1, 1, {"value", "dtype"}, constant_of_shape},
    {Op::range, 3, 3, 1, 1, {}, range},
    {Op::trilu, 1, 2, 1, 1, {"upper"}, trilu},
    {Op::eye_like, 1, 1, 1, 1, {"k", "dtype"}, eye_like},
};

}  // namespace

std::span<const OpSchema> shape_schemas() { return kSchemas; }

}  // namespace lacuna::ops
