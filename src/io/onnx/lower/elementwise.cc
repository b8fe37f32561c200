// Elementwise ops: most have an ONNX op of their own; the others are written out.
#include <cmath>

#include "base/cat.h"
#include "io/onnx/lower/lowerings.h"
#include "io/onnx/tensors.h"

namespace lacuna::onnx::lower {
namespace {

// x Phi(x): with erf, or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
void gelu(Lowering& l) {
  std::string x = l.input(0), approximate = l.attributes().text("approximate", "none");
  if (l.opset() >= 20) return l.finish("Gelu", {x}, {{"approximate", approximate}});
  DType t = l.dtype(0);
  std::string gate;
  if (approximate == "tanh") {
    std::string cube = l.add("Mul", {l.add("Mul", {x, x}), x});
    std::string inner = l.add("Add", {x, l.add("Mul", {cube, l.scalar(0.044715, t)})});
    gate = l.add("Tanh", {l.add("Mul", {inner, l.scalar(std::sqrt(2 / M_PI), t)})});
  } else {
    gate = l.add("Erf", {l.add("Div", {x, l.scalar(std::sqrt(2.0), t)})});
  }
  std::string half = l.add("Mul", {x, l.add("Add", {gate, l.scalar(1, t)})});
  l.finish("Mul", {half, l.scalar(0.5, t)});
}

void silu(Lowering& l) { l.finish("Mul", {l.input(0), l.add("Sigmoid", {l.input(0)})}); }

void mish(Lowering& l) {
  if (l.opset() >= 18) return l.finish("Mish", {l.input(0)});
  l.finish("Mul", {l.input(0), l.add("Tanh", {l.add("Softplus", {l.input(0)})})});
}

void clip(Lowering& l) {
  std::vector<std::string> inputs = l.inputs();
  inputs.resize(3);
  if (l.attributes().has("min")) inputs[1] = l.scalar(l.attributes().number("min", 0), l.dtype(0));
  if (l.attributes().has("max")) inputs[2] = l.scalar(l.attributes().number("max", 0), l.dtype(0));
  l.finish("Clip", inputs);
}

void cast(Lowering& l) { l.finish("Cast", {l.input(0)}, {{"to", int64_t(code_of(*dtype_from_name(l.attributes().text("to", "f32"))))}}); }

// ONNX wants both operands of one type, the Graph promotes.
template <const char* const& type>
void binary(Lowering& l) {
  DType a = l.dtype(0), b = l.dtype(1);
  std::string x = l.input(0), y = l.input(1);
  if (a != b && is_float(a) && is_float(b)) {
    DType wide = a == DType::kF64 || b == DType::kF64 ? DType::kF64 : DType::kF32;
    x = l.cast(x, a, wide), y = l.cast(y, b, wide);
  }
  l.finish(type, {x, y}, l.copied({"fmod"}));
}
constexpr const char *kAdd = "Add", *kSub = "Sub", *kMul = "Mul", *kDiv = "Div", *kMod = "Mod";

const Entry kEntries[] = {
    {Op::relu, LACUNA_LOWER_AS("Relu")},
    {Op::leaky_relu, LACUNA_LOWER_AS("LeakyRelu", "alpha")},
    {Op::elu, LACUNA_LOWER_AS("Elu", "alpha")},
    {Op::selu, LACUNA_LOWER_AS("Selu", "alpha", "gamma")},
    {Op::celu, LACUNA_LOWER_AS("Celu", "alpha")},
    {Op::sigmoid, LACUNA_LOWER_AS("Sigmoid")},
    {Op::hard_sigmoid, LACUNA_LOWER_AS("HardSigmoid", "alpha", "beta")},
    {Op::hard_swish, LACUNA_LOWER_AS("HardSwish")},
    {Op::tanh, LACUNA_LOWER_AS("Tanh")},
    {Op::gelu, gelu},
    {Op::silu, silu},
    {Op::mish, mish},
    {Op::softplus, LACUNA_LOWER_AS("Softplus")},
    {Op::softsign, LACUNA_LOWER_AS("Softsign")},
    {Op::thresholded_relu, LACUNA_LOWER_AS("ThresholdedRelu", "alpha")},
    {Op::shrink, LACUNA_LOWER_AS("Shrink", "bias", "lambd")},
    {Op::erf, LACUNA_LOWER_AS("Erf")},
    {Op::exp, LACUNA_LOWER_AS("Exp")},
    {Op::log, LACUNA_LOWER_AS("Log")},
    {Op::sqrt, LACUNA_LOWER_AS("Sqrt")},
    {Op::reciprocal, LACUNA_LOWER_AS("Reciprocal")},
    {Op::abs, LACUNA_LOWER_AS("Abs")},
    {Op::neg, LACUNA_LOWER_AS("Neg")},
    {Op::sign, LACUNA_LOWER_AS("Sign")},
    {Op::floor, LACUNA_LOWER_AS("Floor")},
    {Op::ceil, LACUNA_LOWER_AS("Ceil")},
    {Op::round, LACUNA_LOWER_AS("Round")},
    {Op::sin, LACUNA_LOWER_AS("Sin")},
    {Op::cos, LACUNA_LOWER_AS("Cos")},
    {Op::tan, LACUNA_LOWER_AS("Tan")},
    {Op::atan, LACUNA_LOWER_AS("Atan")},
    {Op::logical_not, LACUNA_LOWER_AS("Not")},
    {Op::is_nan, LACUNA_LOWER_AS("IsNaN")},
    {Op::is_inf, LACUNA_LOWER_AS("IsInf", "detect_negative", "detect_positive")},
    {Op::clip, clip},
    {Op::cast, cast},
    {Op::identity, LACUNA_LOWER_AS("Identity")},
    {Op::add, binary<kAdd>},
    {Op::sub, binary<kSub>},
    {Op::mul, binary<kMul>},
    {Op::div, binary<kDiv>},
    {Op::pow, LACUNA_LOWER_AS("Pow")},
    {Op::mod, binary<kMod>},
    {Op::minimum, LACUNA_LOWER_AS("Min")},
    {Op::maximum, LACUNA_LOWER_AS("Max")},
    {Op::prelu, LACUNA_LOWER_AS("PRelu")},
    {Op::equal, LACUNA_LOWER_AS("Equal")},
    {Op::less, LACUNA_LOWER_AS("Less")},
    {Op::less_equal, LACUNA_LOWER_AS("LessOrEqual")},
    {Op::greater, LACUNA_LOWER_AS("Greater")},
    {Op::greater_equal, LACUNA_LOWER_AS("GreaterOrEqual")},
    {Op::logical_and, LACUNA_LOWER_AS("And")},
    {Op::logical_or, LACUNA_LOWER_AS("Or")},
    {Op::logical_xor, LACUNA_LOWER_AS("Xor")},
    {Op::where, LACUNA_LOWER_AS("Where")},
};

}  // namespace

std::span<const Entry> elementwise() { return kEntries; }

}  // namespace lacuna::onnx::lower
