#include "kernels/onednn/engine.h"

#include <omp.h>

#include "base/cpu.h"

namespace lacuna::kernels {
namespace {

void apply_forced_isa() {
  const CpuFeatures &cpu = cpu_features(), &detected = detected_cpu_features();
  if (isa_summary(cpu) == isa_summary(detected)) return;  // not lowered: ONEDNN_MAX_CPU_ISA stays the user's
  dnnl::cpu_isa isa = !cpu.avx2          ? dnnl::cpu_isa::sse41
                      : !cpu.avx512      ? (cpu.avx_vnni ? dnnl::cpu_isa::avx2_vnni : dnnl::cpu_isa::avx2)
                      : !cpu.avx512_vnni ? dnnl::cpu_isa::avx512_core
                      : !cpu.avx512_bf16 ? dnnl::cpu_isa::avx512_core_vnni
                                         : dnnl::cpu_isa::avx512_core_bf16;
  dnnl::set_max_cpu_isa(isa);
}

}  // namespace

dnnl::engine& onednn_engine() {
  static dnnl::engine engine = [] {
    apply_forced_isa();
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

dnnl::stream& onednn_stream() {
  thread_local dnnl::stream stream(onednn_engine());
  return stream;
}

OneDnnThreads::OneDnnThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
OneDnnThreads::~OneDnnThreads() { omp_set_num_threads(before_); }

}  // namespace lacuna::kernels
