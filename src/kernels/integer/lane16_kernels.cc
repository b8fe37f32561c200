// The table entries of the 16-row integer family: one per format and instruction set.
#include "base/cat.h"
#include "kernels/dispatch.h"
#include "kernels/integer/lane16_linear.h"

namespace lacuna::kernels {

namespace avx512_vbmi2 {
extern const Lane16Isa lane16;
}
namespace avx512_vnni {
extern const Lane16Isa lane16;
}
namespace avx512 {
extern const Lane16Isa lane16;
}
namespace avx2_vnni {
extern const Lane16Isa lane16;
}
namespace avx2 {
extern const Lane16Isa lane16;
}

namespace {

constexpr int64_t kDecode = 16, kAny = INT64_MAX;  // most tokens

struct Candidate {
  std::string_view help;
  Lane16Options options;
  int64_t max_tokens;
  double break_even;
};

constexpr Candidate kDense8 = {"dense int8", {.format = Lane16Format::kDense, .bits = 8}, kAny, 0};
constexpr Candidate kDense4 = {"dense int4, scales per row or group", {.format = Lane16Format::kDense, .bits = 4}, kAny, 0};
constexpr Candidate kBitmask8 = {"int8 under a bitmask, 1 + 8 d bits per weight", {.format = Lane16Format::kBitmask, .bits = 8}, kDecode, 0.3};
constexpr Candidate kBitmask4 = {
    "int4 under a bitmask, 1 + 4 d bits per weight and the scales", {.format = Lane16Format::kBitmask, .bits = 4}, kAny, 0.4};
constexpr Candidate kN16 = {"int8 N:M with M dividing 16, 4-bit indices, 12 d bits per weight", {.format = Lane16Format::kN16}, kAny, 0.4};
constexpr Candidate kWindow64 = {"int8 gathered from sliding windows of 64 columns", {.format = Lane16Format::kWindow, .window = 64}, kAny, 0.7};
constexpr Candidate kWindow128 = {
    "int8 gathered from sliding windows of 128 columns", {.format = Lane16Format::kWindow, .window = 128}, kDecode, 0.85};
constexpr Candidate kWindow256 = {
    "int8 gathered from sliding windows of 256 columns", {.format = Lane16Format::kWindow, .window = 256}, kDecode, 0.9};

std::optional<std::string> accepts(const LinearProblem& problem, int64_t tokens, const CpuFeatures& cpu, std::string_view isa,
                                   const Candidate& candidate) {
  if (auto reason = lacks(cpu, isa)) return reason;
  if (auto reason = refuses_lane16(problem, candidate.options.format, candidate.options.bits)) return reason;
  if (tokens > candidate.max_tokens) return cat("is for at most ", candidate.max_tokens, " tokens");
  return std::nullopt;
}

}  // namespace

#define LACUNA_LANE16(isa, kernel, candidate)                                                                                             \
  extern const LinearKernel isa##_##kernel = {                                                                                            \
      .name = #isa "::" #kernel,                                                                                                          \
      .help = candidate.help,                                                                                                             \
      .sparse = candidate.options.format != Lane16Format::kDense,                                                                         \
      .break_even = candidate.break_even,                                                                                                 \
      .accepts = [](const LinearProblem& p, int64_t tokens, const CpuFeatures& cpu) { return accepts(p, tokens, cpu, #isa, candidate); }, \
      .pack = [](const LinearProblem& p,                                                                                                  \
                 const WeightMatrix& w) { return pack_lane16_linear(#isa "::" #kernel, p, w, isa::lane16, candidate.options); }};

#define LACUNA_LANE16_ISA(isa)               \
  LACUNA_LANE16(isa, dense_s8, kDense8)      \
  LACUNA_LANE16(isa, dense_s4, kDense4)      \
  LACUNA_LANE16(isa, bitmask_s8, kBitmask8)  \
  LACUNA_LANE16(isa, bitmask_s4, kBitmask4)  \
  LACUNA_LANE16(isa, n16_s8, kN16)           \
  LACUNA_LANE16(isa, window64_s8, kWindow64) \
  LACUNA_LANE16(isa, window128_s8, kWindow128)

LACUNA_LANE16_ISA(avx512_vbmi2)
LACUNA_LANE16_ISA(avx512_vnni)
LACUNA_LANE16_ISA(avx512)
LACUNA_LANE16_ISA(avx2_vnni)
LACUNA_LANE16_ISA(avx2)
LACUNA_LANE16(avx512_vbmi2, window256_s8, kWindow256)

}  // namespace lacuna::kernels
