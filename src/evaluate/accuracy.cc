#include "evaluate/accuracy.h"

#include <algorithm>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"

namespace lacuna {

AccuracyResult accuracy(Session& session, const ImageDataset& data, const ImagePreprocessing& how, int64_t batch, Progress* progress) {
  const Graph& graph = session.graph();
  std::string input;
  for (ValueId id : graph.inputs())
    if (graph.value(id).shape && graph.value(id).shape->size() == 4) {
      input = graph.value(id).name;
      break;
    }
  if (input.empty()) throw Unsupported("accuracy needs an image classifier: the model has no input [batch, 3, height, width]");
  std::string output = graph.outputs()[0].name;
  AccuracyResult result;
  int64_t count = int64_t(data.images.size()), plane = 3 * how.height * how.width, hits1 = 0, hits5 = 0;
  for (int64_t first = 0; first < count; first += batch) {
    if (progress) progress->update("evaluating", first, count);
    int64_t n = std::min(batch, count - first);
    Tensor x(DType::kF32, {n, 3, how.height, how.width}, false);
    auto pixels = x.mutable_data<float>();
    parallel_for(n, [&](int64_t i) { preprocess(data.images[size_t(first + i)].image, how, pixels.subspan(size_t(i * plane), size_t(plane))); });
    Tensor scores = session.run({{input, x}}).at(output).to(DType::kF32);
    int64_t classes = scores.size() / n;
    for (int64_t i = 0; i < n; i++) {
      int64_t label = data.images[size_t(first + i)].label;
      if (label >= classes) throw InvalidArgument(cat("'", data.classes[size_t(label)], "' is class ", label, ", the model has ", classes));
      auto row = scores.data<float>().subspan(size_t(i * classes), size_t(classes));
      int64_t better = 0;
      for (int64_t c = 0; c < classes; c++) better += row[size_t(c)] > row[size_t(label)] || (row[size_t(c)] == row[size_t(label)] && c < label);
      hits1 += better < 1;
      hits5 += better < 5;
    }
  }
  result.images = count;
  result.top1 = double(hits1) / double(std::max<int64_t>(1, count));
  result.top5 = double(hits5) / double(std::max<int64_t>(1, count));
  return result;
}

}  // namespace lacuna
