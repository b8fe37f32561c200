// Elementwise ops: numpy broadcasting; elements of small integer tensors are followed as expressions.
#include "base/cat.h"
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

using Operands = std::span<const Dim* const>;
using Result = std::optional<Dim>;

bool non_negative(const Dim& d) {
  auto low = d.lower_bound();
  return low && *low >= 0;
}

Result truth(std::optional<bool> b) { return b ? Result(Dim(*b)) : std::nullopt; }
std::optional<bool> is_true(const Dim& d) {
  auto zero = is_equal(d, Dim(0));
  return zero ? std::optional(!*zero) : std::nullopt;
}
std::optional<bool> negated(std::optional<bool> b) { return b ? std::optional(!*b) : std::nullopt; }

Result same(Operands x) { return *x[0]; }  // also floor, ceil and round: known floats are whole
Result negative(Operands x) { return Dim(0) - *x[0]; }
Result absolute(Operands x) {
  if (non_negative(*x[0])) return *x[0];
  auto high = x[0]->upper_bound();
  return high && *high <= 0 ? Result(Dim(0) - *x[0]) : std::nullopt;
}
Result sum(Operands x) { return *x[0] + *x[1]; }
Result difference(Operands x) { return *x[0] - *x[1]; }
Result times(Operands x) { return *x[0] * *x[1]; }
Result least(Operands x) {
  Dim out = *x[0];
  for (const Dim* d : x.subspan(1)) out = min(out, *d);
  return out;
}
Result greatest(Operands x) {
  Dim out = *x[0];
  for (const Dim* d : x.subspan(1)) out = max(out, *d);
  return out;
}
Result ramp(Operands x) { return max(*x[0], Dim(0)); }
Result eq(Operands x) { return truth(is_equal(*x[0], *x[1])); }
Result lt(Operands x) { return truth(is_less(*x[0], *x[1])); }
Result gt(Operands x) { return truth(is_less(*x[1], *x[0])); }
Result le(Operands x) { return truth(negated(is_less(*x[1], *x[0]))); }
Result ge(Operands x) { return truth(negated(is_less(*x[0], *x[1]))); }
Result conjunction(Operands x) {
  auto a = is_true(*x[0]), b = is_true(*x[1]);
  if (a == false || b == false) return Dim(0);
  return a && b ? Result(Dim(1)) : std::nullopt;
}
Result disjunction(Operands x) {
  auto a = is_true(*x[0]), b = is_true(*x[1]);
  if (a == true || b == true) return Dim(1);
  return a && b ? Result(Dim(0)) : std::nullopt;
}
Result exclusive_or(Operands x) {
  auto a = is_true(*x[0]), b = is_true(*x[1]);
  return a && b ? Result(Dim(*a != *b)) : std::nullopt;
}
Result complement(Operands x) { return truth(negated(is_true(*x[0]))); }

// Truncating division of integers; floats only where the quotient is whole.
Result integer_quotient(Operands x) {
  const Dim &a = *x[0], &b = *x[1];
  if (b == Dim(0)) return std::nullopt;
  if (a.is_constant() && b.is_constant()) {
    if (b == Dim(-1)) return Dim(0) - a;
    return Dim(a.value() / b.value());
  }
  return non_negative(a) && non_negative(b) ? Result(floor_div(a, b)) : std::nullopt;
}
Result exact_quotient(Operands x) {
  const Dim &a = *x[0], &b = *x[1];
  if (b == Dim(0) || (a == Dim(0) && !non_negative(b))) return std::nullopt;
  Dim q = floor_div(a, b);
  return q * b == a ? Result(q) : std::nullopt;
}

// fmod = 0: the sign of the divisor; fmod = 1: the sign of the dividend.
Result remainder(Operands x) {
  auto low = x[1]->lower_bound();
  if (!low || *low < 1) return std::nullopt;
  return *x[0] - *x[1] * floor_div(*x[0], *x[1]);
}
Result truncated_remainder(Operands x) { return non_negative(*x[0]) ? remainder(x) : std::nullopt; }

Result choice(Operands x) {
  auto condition = is_true(*x[0]);
  if (condition) return *x[*condition ? 1 : 2];
  return *x[1] == *x[2] ? Result(*x[1]) : std::nullopt;
}

// The broadcast shape of inputs [first, end); nullopt if one is not known.
std::optional<SymShape> joint_shape(const InferContext& context) {
  SymShape out;
  for (size_t i = 0; i < context.input_count(); i++) {
    if (!context.has_input(i)) continue;
    auto* shape = context.shape(i);
    if (!shape) return std::nullopt;
    out = broadcast(out, *shape, cat("input ", i));
  }
  return out;
}

void unary(InferContext& context) { same_as_input(context); }

template <auto combine>
void unary_known(InferContext& context) {
  same_as_input(context);
  combine_elements(context, combine);
}

void negation(InferContext& context) {
  same_as_input(context);
  if (!is_float(context.output(0).dtype)) combine_elements(context, negative);  // of floats, zero would become minus zero
}

void boolean_of(InferContext& context) { context.set(0, DType::kBool, context.input(0).shape); }

DType joint_dtype(const InferContext& context, size_t first = 0) {
  DType dtype = context.input(first).dtype;
  for (size_t i = first + 1; i < context.input_count(); i++) dtype = promote(dtype, context.input(i).dtype);
  return dtype;
}

void arithmetic(InferContext& context) { context.set(0, joint_dtype(context), joint_shape(context)); }

template <auto combine>
void arithmetic_known(InferContext& context) {
  arithmetic(context);
  combine_elements(context, combine);
}

void division(InferContext& context) {
  arithmetic(context);
  combine_elements(context, is_float(context.output(0).dtype) ? exact_quotient : integer_quotient);
}

void modulo(InferContext& context) {
  arithmetic(context);
  combine_elements(context, context.attributes().integer("fmod", 0) ? truncated_remainder : remainder);
}

void power(InferContext& context) { context.set(0, context.input(0).dtype, joint_shape(context)); }

template <auto combine>
void comparison(InferContext& context) {
  context.set(0, DType::kBool, joint_shape(context));
  combine_elements(context, combine);
}

void where(InferContext& context) {
  context.set(0, joint_dtype(context, 1), joint_shape(context));
  combine_elements(context, choice);
}

void cast(InferContext& context) {
  const Fact& x = context.input(0);
  std::string name = context.attributes().text("to", "");
  auto to = dtype_from_name(name);
  if (!to) context.fail(cat("attribute 'to' is '", name, "', which is no dtype"));
  context.set(0, *to, x.shape);
  if (*to == DType::kBool)
    combine_elements(context, [](Operands x) { return truth(is_true(*x[0])); });
  else
    combine_elements(context, same);
}

// x, min?, max? (scalars): the shape of x.
void clip(InferContext& context) { same_as_input(context); }

// slope broadcasts to x.
void prelu(InferContext& context) {
  auto shape = joint_shape(context);
  if (shape && shape->size() > context.shape(0)->size())
    context.fail(cat("slope ", to_string(*context.shape(1)), " does not broadcast to ", to_string(*context.shape(0))));
  same_as_input(context);
}

const OpSchema kSchemas[] = {
    {Op::relu, 1, 1, 1, 1, {}, unary_known<ramp>},
    {Op::leaky_relu, 1, 1, 1, 1, {"alpha"}, unary},
    {Op::elu, 1, 1, 1, 1, {"alpha"}, unary},
    {Op::selu, 1, 1, 1, 1, {"alpha", "gamma"}, unary},
    {Op::celu, 1, 1, 1, 1, {"alpha"}, unary},
    {Op::sigmoid, 1, 1, 1, 1, {}, unary},
    {Op::hard_sigmoid, 1, 1, 1, 1, {"alpha", "beta"}, unary},
    {Op::hard_swish, 1, 1, 1, 1, {}, unary},
    {Op::tanh, 1, 1, 1, 1, {}, unary},
    {Op::gelu, 1, 1, 1, 1, {"approximate"}, unary},
    {Op::silu, 1, 1, 1, 1, {}, unary},
    {Op::mish, 1, 1, 1, 1, {}, unary},
    {Op::softplus, 1, 1, 1, 1, {}, unary},
    {Op::softsign, 1, 1, 1, 1, {}, unary},
    {Op::thresholded_relu, 1, 1, 1, 1, {"alpha"}, unary},
    {Op::shrink, 1, 1, 1, 1, {"bias", "lambd"}, unary},
    {Op::erf, 1, 1, 1, 1, {}, unary},
    {Op::exp, 1, 1, 1, 1, {}, unary},
    {Op::log, 1, 1, 1, 1, {}, unary},
    {Op::sqrt, 1, 1, 1, 1, {}, unary},
    {Op::reciprocal, 1, 1, 1, 1, {}, unary},
    {Op::abs, 1, 1, 1, 1, {}, unary_known<absolute>},
    {Op::neg, 1, 1, 1, 1, {}, negation},
    {Op::sign, 1, 1, 1, 1, {}, unary},
    {Op::floor, 1, 1, 1, 1, {}, unary_known<same>},
    {Op::ceil, 1, 1, 1, 1, {}, unary_known<same>},
    {Op::round, 1, 1, 1, 1, {}, unary_known<same>},
    {Op::sin, 1, 1, 1, 1, {}, unary},
    {Op::cos, 1, 1, 1, 1, {}, unary},
    {Op::tan, 1, 1, 1, 1, {}, unary},
    {Op::atan, 1, 1, 1, 1, {}, unary},
    {Op::logical_not, 1, 1, 1, 1, {}, comparison<complement>},
    {Op::is_nan, 1, 1, 1, 1, {}, boolean_of},
    {Op::is_inf, 1, 1, 1, 1, {"detect_negative", "detect_positive"}, boolean_of},
    {Op::clip, 1, 3, 1, 1, {"min", "max"}, clip},
    {Op::cast, 1, 1, 1, 1, {"to"}, cast},
    {Op::identity, 1, 1, 1, 1, {}, unary_known<same>},
    {Op::add, 2, 2, 1, 1, {}, arithmetic_known<sum>},
    {Op::sub, 2, 2, 1, 1, {}, arithmetic_known<difference>},
    {Op::mul, 2, 2, 1, 1, {}, arithmetic_known<times>},
    {Op::div, 2, 2, 1, 1, {}, division},
    {Op::pow, 2, 2, 1, 1, {}, power},
    {Op::mod, 2, 2, 1, 1, {"fmod"}, modulo},
    {Op::minimum, 1, -1, 1, 1, {}, arithmetic_known<least>},
    {Op::maximum, 1, -1, 1, 1, {}, arithmetic_known<greatest>},
    {Op::prelu, 2, 2, 1, 1, {}, prelu},
    {Op::equal, 2, 2, 1, 1, {}, comparison<eq>},
    {Op::less, 2, 2, 1, 1, {}, comparison<lt>},
    {Op::less_equal, 2, 2, 1, 1, {}, comparison<le>},
    {Op::greater, 2, 2, 1, 1, {}, comparison<gt>},
    {Op::greater_equal, 2, 2, 1, 1, {}, comparison<ge>},
    {Op::logical_and, 2, 2, 1, 1, {}, comparison<conjunction>},
    {Op::logical_or, 2, 2, 1, 1, {}, comparison<disjunction>},
    {Op::logical_xor, 2, 2, 1, 1, {}, comparison<exclusive_or>},
    {Op::where, 3, 3, 1, 1, {}, where},
};

}  // namespace

std::span<const OpSchema> elementwise_schemas() { return kSchemas; }

}  // namespace lacuna::ops
