#include "kernels/floor.h"

#include <algorithm>

#include "base/cpu.h"

namespace lacuna::kernels {
namespace {

PeakKind peak_of(DType weights, DType activations, std::string_view kernel) {
  if (kernel.starts_with("amx_bf16")) return PeakKind::kBF16Tiles;
  bool tiles = isa_of(kernel).starts_with("amx");
  if (activations == DType::kS8) return tiles ? PeakKind::kInt8Tiles : PeakKind::kInt8;
  if (weights == DType::kBF16 && activations == DType::kBF16) return tiles ? PeakKind::kBF16Tiles : PeakKind::kBF16;
  return PeakKind::kF32;
}

// Products that make one of the problem: tiles multiply the bf16 parts of floats (float_tiles.h).
double products_of(DType weights, DType activations, std::string_view kernel) {
  if (!kernel.starts_with("amx_bf16")) return 1;
  int w = weights == DType::kF32 ? 3 : weights == DType::kF16 ? 2 : 1, x = activations == DType::kBF16 ? 1 : 3, products = 0;
  for (int i = 0; i < x; i++)
    for (int j = 0; j < w; j++) products += i + j < std::max(x, w);
  return products;
}

}  // namespace

std::string isa_of(std::string_view kernel) {
  std::string folder(kernel.substr(0, kernel.find("::"))), levels = isa_summary(cpu_features());
  return folder == "onednn" ? levels.substr(levels.rfind(' ') + 1) : folder;
}

Demand demand_of(const LinearCase& c, std::string_view kernel) {
  const LinearProblem& p = c.problem;
  return {.operations = 2.0 * double(p.rows) * double(p.cols) * (1 - p.sparsity) * double(c.tokens) * products_of(p.weights, p.activations, kernel),
          .activation_bytes = c.tokens * (p.cols + p.rows) * 4,
          .peak = peak_of(p.weights, p.activations, kernel)};
}

Demand demand_of(const ConvCase& c, std::string_view kernel) {
  const ConvProblem& p = c.problem;
  int64_t pixels = p.out_h(c.in_h) * p.out_w(c.in_w), weights = p.out_channels * (p.in_channels / p.groups) * p.kernel_h * p.kernel_w;
  return {.operations = 2.0 * double(weights) * (1 - p.sparsity) * double(pixels * c.batch) * products_of(p.weights, p.activations, kernel),
          .activation_bytes = c.batch * (p.in_channels * c.in_h * c.in_w + p.out_channels * pixels) * 4,
          .peak = peak_of(p.weights, p.activations, kernel)};
}

double floor_us(const Demand& demand, int64_t weight_bytes, double weights_gb_s, double activations_gb_s, double peak_gop_s) {
  double read = double(weight_bytes) / weights_gb_s + double(demand.activation_bytes) / activations_gb_s;
  return std::max(read, peak_gop_s > 0 ? demand.operations / peak_gop_s : 0) * 1e-3;
}

}  // namespace lacuna::kernels
