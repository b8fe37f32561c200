// oneDNN under our threads: one engine, one stream per thread, and OpenMP held to the number of threads that the caller says.
#pragma once

#include <dnnl.hpp>

namespace lacuna::kernels {

// The CPU engine. At the first call oneDNN is held to the instruction sets of cpu_features(), if LACUNA_ISA lowers them.
dnnl::engine& onednn_engine();
// The calling thread's stream.
dnnl::stream& onednn_stream();

// OpenMP threads of the calling thread's oneDNN calls while this lives. Inside parallel_for it is 1: our tiles are the parallelism.
class OneDnnThreads {
 public:
  explicit OneDnnThreads(int threads);
  ~OneDnnThreads();
  OneDnnThreads(const OneDnnThreads&) = delete;
  OneDnnThreads& operator=(const OneDnnThreads&) = delete;

 private:
  int before_;
};

}  // namespace lacuna::kernels
