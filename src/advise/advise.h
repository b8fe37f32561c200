// Curves of speed against sparsity, out of the planner's cost table.
#pragma once

#include <functional>
#include <span>

#include "lacuna/advise.h"

namespace lacuna {

// The dense problem, in the kernels' language, at each sparsity of the pattern. `patterns` that fix their sparsity give one point.
// `model_weights` as in runtime/measure.h. Throws InvalidArgument on an unknown pattern or precision, naming it.
AdviceCurve measure_curve(const std::string& dense_problem, const std::string& pattern, const std::string& precision,
                          std::span<const double> sparsities, int64_t model_weights);

// Microseconds of the problem as it stands, dense.
double measure_dense(const std::string& dense_problem, int64_t model_weights);

// Where the line through the points reaches `worthwhile` for good; nullopt if the last point is below. A first point above counts as it is.
std::optional<double> start_of_gain(std::span<const AdvicePoint> points, double worthwhile);

// Adds up layers that share phase, pattern, precision and sparsity.
std::vector<AdviceTotal> totals_of(std::span<const LayerAdvice> layers);

}  // namespace lacuna
