// What `bench` times: a model in one arithmetic.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/model.h"
#include "runtime/measure.h"
#include "runtime/session.h"

namespace lacuna {

struct Arithmetic {
  std::string name;              // as in BenchPrecision
  bool own = false;              // what the model states
  std::optional<DType> compute;  // as in SessionOptions; nullopt if own
};

// Packing more than this is left to those who ask for it.
constexpr int64_t kMostBytesUnasked = int64_t(2) << 30;

// "f32", "int8" (it rounds activations), or what most of its multiplied weights are stored in: "bf16 weights", "8-bit weights", "4-bit weights" ...
std::string own_arithmetic(const Graph& graph);

// Those named, own first if its name says nothing that can be asked for, else in the order f32, bf16, int8. `wanted` empty: all, or own alone where
// that would take too much memory, which `remarks` then says. Throws InvalidArgument on an unknown name.
std::vector<Arithmetic> arithmetics_of(const Graph& graph, const std::vector<std::string>& wanted, std::vector<std::string>& remarks);

// The Graph to run: without roundings per token for floats; for int8 with scales for the inputs of convolutions, the largest magnitudes that the
// samples give.
std::shared_ptr<const Graph> graph_for(const std::shared_ptr<const Graph>& graph, const Arithmetic& arithmetic, const TensorMap& samples);

}  // namespace lacuna
