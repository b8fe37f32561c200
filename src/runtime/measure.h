// Choosing a kernel: by the static table, or by measuring the candidates on the problem at hand. Measurements are kept for the process
// and in the user's cache directory ($XDG_CACHE_HOME or ~/.cache, lacuna/plan-CPU.json), so that a problem is measured once per machine.
// The file is forgotten when the kernels are no longer those that were measured. Once an entry is ten minutes old its kernel is timed once more:
// if that is much faster than it was, the machine was busy then, and the problem is measured anew.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "graph/graph.h"
#include "kernels/conv.h"

namespace lacuna {

constexpr double kWorthwhile = 1.05;      // sparse must be this much faster than dense
constexpr double kWorthwhileConv = 1.15;  // likewise for convolutions of floats, which may need their neighbours' results in another layout

template <class Kernel>
struct Choice {
  const Kernel* kernel;
  std::string reason;  // "static table", "sparse 2.1x faster than dense (measured)", ...
  // Where measured: the fastest of each kind. Empty and 0 if there is none, or only one kernel takes the problem.
  std::string dense_kernel, sparse_kernel;
  double dense_us = 0, sparse_us = 0;
};

Choice<kernels::LinearKernel> static_choice(const kernels::LinearProblem& problem, int64_t tokens);
// `codes`: of the kernels that take codes and leave them.
Choice<kernels::ConvKernel> static_choice(const kernels::ConvProblem& problem, bool codes = false);

// What a convolution is measured on: floats in the layout that each kernel prefers; floats that come in planes, of which dense kernels that prefer
// blocks of channels want a copy; codes. A depthwise convolution, which takes no longer than such copies, is timed with them, of input and output.
enum class ConvValues : uint8_t { kFloats, kPlanes, kCodes };

// Times the dense and sparse candidates in turns; sparse replaces dense where it wins by 5 % (convolutions of floats: 15 %, 5 % where they come in
// planes), and where the bytes it saves are worth what it loses: a tenth at most where weights come from memory, from L3 a twentieth for convolutions
// and nothing for linear layers. `model_weights` says how many weights the products of the whole model have: where a layer's lie when its turn comes
// follows from it.
Choice<kernels::LinearKernel> measured_choice(const kernels::LinearProblem& problem, const kernels::WeightMatrix& weight, int64_t tokens,
                                              int64_t model_weights);
Choice<kernels::ConvKernel> measured_choice(const kernels::ConvProblem& problem, const kernels::WeightMatrix& weight, int64_t batch, int64_t in_h,
                                            int64_t in_w, int64_t model_weights, ConvValues values = ConvValues::kFloats);
// The fastest of several ways to do the same, which differ by name: as the table says under `key`, or as timed now, in turns. An entry of ten
// minutes is timed once more, and then stays.
struct Way {
  std::string name;
  std::function<void()> run;
};
std::string fastest_way(std::string key, std::span<const Way> ways);

// Weights of linear and conv nodes, each once.
int64_t multiplied_weights(const Graph& graph);

// Whether a sparse kernel that is no faster on its own is the better one where weights come from memory or L3: bytes that it does not read, for
// `saved_us`, leave their place in the caches to other layers', so that each counts twice. It may take `most_lost` times as long at most.
// `worthwhile` as above, of the kind.
bool bytes_pay(double dense_us, double sparse_us, double saved_us, double worthwhile, double most_lost);

// What measured_choice would say without measuring anything, if the table holds it; convolutions are those of floats
// (ConvValues::kFloats).
std::optional<Choice<kernels::LinearKernel>> known_choice(const kernels::LinearProblem& problem, int64_t tokens, int64_t model_weights);
std::optional<Choice<kernels::ConvKernel>> known_choice(const kernels::ConvProblem& problem, int64_t batch, int64_t in_h, int64_t in_w,
                                                        int64_t model_weights);

// Calls whose token counts share a class share a measurement: 1, 2, 4, 8, 16, ... 512.
int64_t tokens_class(int64_t tokens);

// Forgets what was measured, in the process and in the cache file.
void forget_measurements();

}  // namespace lacuna
