// Dense multiplications by other libraries, set up as they are fastest: what a sparse kernel is compared with.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace lacuna::kernels {

struct Contender {
  std::string name;           // "oneDNN s8 matmul, weights left (brg:avx512_core_amx_int8)"
  std::function<void()> run;  // once, with the threads asked for
};

// The same shape and type, every weight multiplied. Weights are packed beforehand and, for integers and bf16, activations come in the
// library's type and results leave in it: what only we are charged for.
std::vector<Contender> onednn_contenders(const LinearCase& problem, int threads);
// In oneDNN's own layouts, without the reorders from and to NCHW.
std::vector<Contender> onednn_contenders(const ConvCase& problem, int threads);
// f32 only; empty for other types.
std::vector<Contender> openblas_contenders(const LinearCase& problem, int threads);

}  // namespace lacuna::kernels
