// The problem language of tests, benchmarks and bug reports, one line each:
//   spmm s8 unstructured m=3072 k=768 n=128 sparsity=0.9 [act=f32] [group=32] [minima=1] [static=1]
//   spmm s8 unstructured n=128 pattern=FILE.smtx
//   conv f32 unstructured ic=256 oc=256 k=3 h=14 w=14 n=1 sparsity=0.9 [stride=1] [pad=1] [dilation=1] [groups=1]
// The words after spmm or conv: type of the weights and pattern. act defaults to s8 for s8 and s4 weights, else f32. A mask file gives
// m, k and sparsity. pad defaults to "same" for stride 1. kh, kw, stride_h, ..., pad_top, pad_left, pad_bottom, pad_right override.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/conv.h"
#include "kernels/linear.h"

namespace lacuna::kernels {

struct LinearCase {
  LinearProblem problem;
  int64_t tokens = 1;
  std::string mask_file;  // .smtx; gives rows, columns and the mask
};
struct ConvCase {
  ConvProblem problem;
  int64_t batch = 1, in_h = 1, in_w = 1;
};

// As lacuna::expand_problems (lacuna/kernel_bench.h).
std::vector<std::string> expand_problems(std::string_view text);

// Throws InvalidArgument naming the word that it does not understand, what was found and what was wanted.
std::variant<LinearCase, ConvCase> parse_problem(std::string_view text);

}  // namespace lacuna::kernels
