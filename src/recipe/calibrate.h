// Scales of activations, found by running a model on calibration data.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "lacuna/progress.h"
#include "lacuna/quantize.h"
#include "quantize/insert.h"

namespace lacuna {

// The scale of each value of the plan, on images of the line's dataset. `settings` receives what decides the result.
// Throws NotFound, InvalidData (dataset), InvalidArgument, Unsupported (the model takes no images).
std::map<ValueId, float> calibrate(const std::shared_ptr<const Graph>& graph, const RoundingPlan& plan, const QuantizeLine& line,
                                   std::map<std::string, std::string>& settings, Progress* progress);

}  // namespace lacuna
