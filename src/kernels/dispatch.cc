#include "kernels/dispatch.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/cat.h"
#include "kernels/conv.h"
#include "kernels/linear.h"
#include "lacuna/error.h"

namespace lacuna::kernels {

#define LACUNA_KERNEL(variable) extern const LinearKernel variable;
#include "kernels/linear_kernels.def"
#undef LACUNA_KERNEL
#define LACUNA_KERNEL(variable) extern const ConvKernel variable;
#include "kernels/conv_kernels.def"
#undef LACUNA_KERNEL

namespace {

std::atomic<TraceSink> trace_sink{nullptr};

void write_to_stderr(std::string_view line) { std::fprintf(stderr, "%.*s\n", int(line.size()), line.data()); }

// Of the value of LACUNA_TRACE; one that means nothing is told so, once.
TraceSink trace_wanted(const char* value) {
  if (!value || !*value) return nullptr;
  if (std::strstr(value, "dispatch")) return write_to_stderr;
  write_to_stderr(cat("LACUNA_TRACE=", value, " is unknown; known: dispatch"));
  return nullptr;
}

TraceSink active_sink() {
  if (TraceSink sink = trace_sink.load()) return sink;
  static const TraceSink wanted = trace_wanted(std::getenv("LACUNA_TRACE"));
  return wanted;
}

// The first kernel that `refusal` has nothing against and whose break-even is reached.
template <class Kernel, class Refusal>
const Kernel& first_without_refusal(std::span<const Kernel> kernels, double sparsity, const std::string& problem, Refusal&& refusal) {
  TraceSink sink = active_sink();
  for (const Kernel& kernel : kernels) {
    std::optional<std::string> reason = refusal(kernel);
    if (!reason && sparsity < kernel.break_even) reason = cat("pays from sparsity ", kernel.break_even, " on");
    if (sink)
      sink(reason ? cat("dispatch: ", problem, ": ", kernel.name, " refused: ", *reason) : cat("dispatch: ", problem, ": ", kernel.name, " chosen"));
    if (!reason) return kernel;
  }
  throw Unsupported(cat("no kernel for ", problem));
}

template <class Kernel>
const Kernel& named(std::span<const Kernel> kernels, std::string_view name, std::string_view op) {
  std::vector<std::string> known;
  for (const Kernel& kernel : kernels) {
    if (kernel.name == name) return kernel;
    known.emplace_back(kernel.name);
  }
  throw InvalidArgument(cat("unknown ", op, " kernel '", name, "'; known: ", join(known)));
}

bool has(const CpuFeatures& cpu, std::string_view isa) {
  struct Level {
    std::string_view name;
    bool available;
  };
  const Level levels[] = {{"avx2", cpu.avx2},
                          {"avx2_vnni", cpu.avx_vnni},
                          {"avx512", cpu.avx512},
                          {"avx512_vnni", cpu.avx512_vnni},
                          {"avx512_vbmi", cpu.avx512_vnni && cpu.avx512_vbmi},
                          {"avx512_vbmi2", cpu.avx512_vnni && cpu.avx512_vbmi && cpu.avx512_vbmi2},
                          {"avx512_bf16", cpu.avx512_bf16},
                          {"amx_bf16", cpu.avx512_vbmi2 && cpu.avx512_bf16 && cpu.amx_bf16},
                          {"amx_int8", cpu.avx512_vnni && cpu.avx512_vbmi && cpu.avx512_vbmi2 && cpu.amx_int8}};
  for (const Level& level : levels)
    if (level.name == isa) return level.available;
  LACUNA_ASSERT(!"known instruction set");
  return false;
}

}  // namespace

std::optional<std::string> lacks(const CpuFeatures& cpu, std::string_view isa) {
  if (has(cpu, isa)) return std::nullopt;
  return cat(has(detected_cpu_features(), isa) ? "LACUNA_ISA leaves out " : "this CPU has no ", isa);
}

std::string packed_format(std::string_view kernel) {
  std::string format;
  if (size_t at = kernel.find("::"); at != std::string_view::npos) kernel.remove_prefix(at + 2);
  for (size_t at = 0; at < kernel.size();) {
    size_t end = std::min(kernel.find('_', at), kernel.size());
    std::string_view word = kernel.substr(at, end - at);
    at = end + 1;
    // The operation, the type, the tile and how it is divided.
    constexpr std::string_view kOthers[] = {"linear", "conv", "spmm", "decode", "f32", "bf16", "float", "s8", "s4", "n64", "per", "thread"};
    if (std::find(std::begin(kOthers), std::end(kOthers), word) != std::end(kOthers)) continue;
    format += cat(format.empty() ? "" : " ", word);
  }
  return format.empty() ? "dense" : format;
}

void set_dispatch_trace(TraceSink sink) noexcept { trace_sink.store(sink); }
bool traces_dispatch() noexcept { return active_sink() != nullptr; }
void trace_dispatch(std::string_view line) {
  if (TraceSink sink = active_sink()) sink(line);
}

std::span<const LinearKernel> linear_kernels() {
#define LACUNA_KERNEL(variable) variable,
  static const LinearKernel table[] = {
#include "kernels/linear_kernels.def"
  };
#undef LACUNA_KERNEL
  return table;
}

std::span<const ConvKernel> conv_kernels() {
#define LACUNA_KERNEL(variable) variable,
  static const ConvKernel table[] = {
#include "kernels/conv_kernels.def"
  };
#undef LACUNA_KERNEL
  return table;
}

const LinearKernel& linear_kernel_named(std::string_view name) { return named(linear_kernels(), name, "linear"); }
const ConvKernel& conv_kernel_named(std::string_view name) { return named(conv_kernels(), name, "convolution"); }

const LinearKernel& first_accepting(const LinearProblem& problem, int64_t tokens) {
  return first_without_refusal(linear_kernels(), problem.sparsity, problem.to_string(tokens),
                               [&](const LinearKernel& kernel) { return kernel.accepts(problem, tokens, cpu_features()); });
}

std::optional<std::string> refusal(const ConvKernel& kernel, const ConvProblem& problem, bool codes) {
  if (codes && !kernel.codes) return "takes no codes";
  return kernel.accepts(problem, cpu_features());
}

const ConvKernel& first_accepting(const ConvProblem& problem, bool codes) {
  return first_without_refusal(conv_kernels(), problem.sparsity, problem.to_string(1, 0, 0),
                               [&](const ConvKernel& kernel) { return refusal(kernel, problem, codes); });
}

}  // namespace lacuna::kernels
