#include "kernels/contender.h"

#include <cblas.h>

#include <memory>

#include "kernels/cases.h"

extern "C" void openblas_set_num_threads(int threads);

namespace lacuna::kernels {

std::vector<Contender> openblas_contenders(const LinearCase& c, int threads) {
  int rows = int(c.problem.rows), cols = int(c.problem.cols), tokens = int(c.tokens);
  if (c.problem.weights != DType::kF32 || c.problem.activations != DType::kF32 || rows == 0 || cols == 0 || tokens == 0) return {};
  auto w = std::make_shared<std::vector<float>>(random_floats(c.problem.rows * c.problem.cols, 1));
  auto x = std::make_shared<std::vector<float>>(random_floats(c.tokens * c.problem.cols, 2));
  auto y = std::make_shared<std::vector<float>>(size_t(c.tokens * c.problem.rows));
  auto run = [=](bool weights_left) {
    openblas_set_num_threads(threads);
    if (weights_left)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, tokens, cols, 1, w->data(), cols, x->data(), cols, 0, y->data(), tokens);
    else
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, tokens, rows, cols, 1, x->data(), cols, w->data(), cols, 0, y->data(), rows);
    openblas_set_num_threads(1);
  };
  return {{"OpenBLAS sgemm, weights right", [=] { run(false); }}, {"OpenBLAS sgemm, weights left", [=] { run(true); }}};
}

}  // namespace lacuna::kernels
