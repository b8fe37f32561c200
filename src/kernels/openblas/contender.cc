// OpenBLAS, loaded when it is first timed: from the moment that it is loaded its threads spin for a tenth of a second, on cores that everything else
// needs.
#include "kernels/contender.h"

#include <cblas.h>
#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "kernels/cases.h"

namespace lacuna::kernels {
namespace {

struct OpenBlas {
  decltype(&cblas_sgemm) sgemm = nullptr;
  void (*set_threads)(int) = nullptr;

  OpenBlas() {
    // Of the clock, as a power of two, after which its threads sleep: long enough to be there for the next run of a batch, and gone before the next
    // contender's turn.
    setenv("OPENBLAS_THREAD_TIMEOUT", "20", 0);
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
    if (set_threads) sgemm = reinterpret_cast<decltype(sgemm)>(dlsym(library, "cblas_sgemm"));
  }
};

}  // namespace

std::vector<Contender> openblas_contenders(const LinearCase& c, int threads) {
  int rows = int(c.problem.rows), cols = int(c.problem.cols), tokens = int(c.tokens);
  if (c.problem.weights != DType::kF32 || c.problem.activations != DType::kF32 || rows == 0 || cols == 0 || tokens == 0) return {};
  static const OpenBlas openblas;
  if (!openblas.sgemm) return {};
  auto w = std::make_shared<std::vector<float>>(random_floats(c.problem.rows * c.problem.cols, 1));
  auto x = std::make_shared<std::vector<float>>(random_floats(c.tokens * c.problem.cols, 2));
  auto y = std::make_shared<std::vector<float>>(size_t(c.tokens * c.problem.rows));
  auto run = [=](bool weights_left) {
    openblas.set_threads(threads);
    if (weights_left)
      openblas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, tokens, cols, 1, w->data(), cols, x->data(), cols, 0, y->data(), tokens);
    else
      openblas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, tokens, rows, cols, 1, x->data(), cols, w->data(), cols, 0, y->data(), rows);
    openblas.set_threads(1);
  };
  return {{"OpenBLAS sgemm, weights right", [=] { run(false); }}, {"OpenBLAS sgemm, weights left", [=] { run(true); }}};
}

}  // namespace lacuna::kernels
