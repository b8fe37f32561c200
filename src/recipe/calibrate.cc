#include "recipe/calibrate.h"

#include <set>

#include "base/cat.h"
#include "evaluate/accuracy.h"
#include "lacuna/error.h"
#include "quantize/ranges.h"
#include "runtime/session.h"

namespace lacuna {
std::map<ValueId, float> calibrate(const std::shared_ptr<const Graph>& graph, const RoundingPlan& plan, const QuantizeLine& line,
                                   std::map<std::string, std::string>& settings, Progress* progress) {
  ImagePreprocessing how = image_preprocessing(*graph, line.resize, line.crop, line.mean, line.deviation);
  std::string input = image_input(*graph);
  ImageDataset data(line.dataset, line.num_calibration_samples);
  RangeMethod method = range_method_named(line.method);

  std::set<ValueId> watched;
  for (auto& [value, readers] : plan.readers) watched.insert(value);
  Ranges ranges(watched);
  Session session(graph);
  std::set<ValueId> seen;  // in this run: a value is read by several nodes
  bool counting = false;
  session.set_observer([&](const Node& node, std::span<const Tensor> inputs, std::span<const Tensor>) {
    for (size_t i = 0; i < node.inputs.size(); i++) {
      if (!watched.contains(node.inputs[i]) || !seen.insert(node.inputs[i]).second) continue;
      if (counting)
        ranges.observe_counts(node.inputs[i], inputs[i]);
      else
        ranges.observe_largest(node.inputs[i], inputs[i]);
    }
  });
  int64_t passes = method == RangeMethod::kMinMax ? 1 : 2, done = 0;
  std::string hash;
  for (int64_t pass = 0; pass < passes; pass++) {
    counting = pass == 1;
    hash = data.visit(image_batch_size(*graph, 16), [&](std::span<const ImageDataset::File> files) {
      if (progress) progress->update("calibrating", done, passes * data.size());
      seen.clear();
      session.run({{input, image_batch(files, how)}});
      done += int64_t(files.size());
    });
  }
  std::map<ValueId, float> scales;
  for (ValueId value : watched) scales[value] = ranges.scale_of(value, method, line.percentile, graph->value(value).name);
  settings = {{"dataset_hash", hash},
              {"samples", cat(data.size(), " of ", data.found())},
              {"method", method == RangeMethod::kPercentile ? cat("percentile ", line.percentile) : line.method},
              {"preprocessing", how.describe()}};
  return scales;
}

}  // namespace lacuna
