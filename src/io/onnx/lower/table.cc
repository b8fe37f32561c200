#include <array>

#include "io/onnx/lower/lowerings.h"

namespace lacuna::onnx {
namespace {

constexpr size_t kOpCount = 0
#define LACUNA_OP(name, help) +1
#include "graph/ops.def"
#undef LACUNA_OP
    ;

std::array<Lower, kOpCount> make_table() {
  std::array<Lower, kOpCount> table{};
  for (auto group : {lower::elementwise(), lower::products(), lower::attention(), lower::normalization(), lower::pooling(), lower::reductions(),
                     lower::movement(), lower::quantization()})
    for (auto& entry : group) table[size_t(entry.op)] = entry.lower;
  return table;
}

}  // namespace

Lower lowering_of(Op op) {
  static const auto table = make_table();
  LACUNA_ASSERT(table[size_t(op)]);
  return table[size_t(op)];
}

}  // namespace lacuna::onnx
