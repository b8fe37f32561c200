#include "evaluate/accuracy.h"

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/parallel.h"
#include "lacuna/error.h"

namespace lacuna {

std::string image_input(const Graph& graph) {
  for (ValueId id : graph.inputs())
    if (graph.value(id).shape && graph.value(id).shape->size() == 4) return graph.value(id).name;
  return "";
}

int64_t image_batch_size(const Graph& graph, int64_t open) {
  for (ValueId id : graph.inputs())
    if (auto& shape = graph.value(id).shape; shape && shape->size() == 4) return (*shape)[0].constant().value_or(open);
  return open;
}

ImagePreprocessing image_preprocessing(const Graph& graph, int64_t resize, int64_t crop, const std::vector<float>& mean,
                                       const std::vector<float>& deviation, std::string_view model) {
  ImagePreprocessing how;
  auto port = std::find_if(graph.inputs().begin(), graph.inputs().end(),
                           [&](ValueId id) { return graph.value(id).shape && graph.value(id).shape->size() == 4; });
  if (port == graph.inputs().end()) throw Unsupported(cat(model, " has no input [batch, 3, height, width] that takes images"));
  const SymShape& shape = *graph.value(*port).shape;
  how.channels_last = shape[3].constant() == 3 && shape[1].constant() != 3;
  auto height = shape[how.channels_last ? 1 : 2].constant(), width = shape[how.channels_last ? 2 : 3].constant();
  if (crop)
    how.height = how.width = crop;
  else if (height && width)
    how.height = *height, how.width = *width;
  else
    throw InvalidArgument(cat(model, " takes images of any size ", to_string(shape), "; say which with --crop"));
  how.resize = resize;
  if (how.resize && how.resize < std::min(how.height, how.width))
    throw InvalidArgument(cat("--resize ", how.resize, " is smaller than the crop of ", how.height, "x", how.width));
  auto three = [](const std::vector<float>& values, std::array<float, 3>& into, const char* what) {
    if (values.empty()) return;
    if (values.size() != 3) throw InvalidArgument(cat(what, ": wanted three channel values, got ", values.size()));
    std::copy(values.begin(), values.end(), into.begin());
  };
  three(mean, how.mean, "--mean");
  three(deviation, how.deviation, "--std");
  for (float d : how.deviation)
    if (!(d > 0)) throw InvalidArgument(cat("--std must be positive, got ", d));
  return how;
}

Tensor image_batch(std::span<const ImageDataset::File> files, const ImagePreprocessing& how) {
  int64_t n = int64_t(files.size()), plane = 3 * how.height * how.width;
  Tensor x(DType::kF32, how.channels_last ? Shape{n, how.height, how.width, 3} : Shape{n, 3, how.height, how.width}, false);
  auto pixels = x.mutable_data<float>();
  parallel_for(n, [&](int64_t i) {
    const ImageDataset::File& file = files[size_t(i)];
    preprocess(decode_image(file.bytes, file.name), how, pixels.subspan(size_t(i * plane), size_t(plane)));
  });
  return x;
}

AccuracyResult accuracy(Session& session, const ImageDataset& data, const ImagePreprocessing& how, int64_t batch, Progress* progress,
                        std::string_view model) {
  const Graph& graph = session.graph();
  std::string input = image_input(graph);
  if (input.empty()) throw Unsupported(cat("accuracy needs an image classifier: ", model, " has no input [batch, 3, height, width]"));
  std::string output = graph.outputs()[0].name;
  AccuracyResult result;
  int64_t hits1 = 0, hits5 = 0;
  result.dataset_hash = data.visit(batch, [&](std::span<const ImageDataset::File> files) {
    if (progress) progress->update("evaluating", result.images, data.size());
    int64_t n = int64_t(files.size());
    Tensor scores = session.run({{input, image_batch(files, how)}}).at(output).to(DType::kF32);
    int64_t classes = scores.size() / n;
    if (classes != int64_t(data.classes().size()))
      throw InvalidArgument(cat(data.source(), " has ", data.classes().size(), " classes (", join(data.classes(), ", ", 5), "), ", model, " tells ",
                                classes, " apart; classes are folders, numbered in the order of their names"));
    for (int64_t i = 0; i < n; i++) {
      int64_t label = files[size_t(i)].label;
      auto row = scores.data<float>().subspan(size_t(i * classes), size_t(classes));
      if (!std::ranges::all_of(row, [](float score) { return std::isfinite(score); }))
        throw InvalidData(cat("the scores of ", model, " for ", files[size_t(i)].name, " are not finite"));
      int64_t better = 0;
      for (int64_t c = 0; c < classes; c++) better += row[size_t(c)] > row[size_t(label)] || (row[size_t(c)] == row[size_t(label)] && c < label);
      hits1 += better < 1;
      hits5 += better < 5;
    }
    result.images += n;
  });
  result.top1 = double(hits1) / double(std::max<int64_t>(1, result.images));
  result.top5 = double(hits5) / double(std::max<int64_t>(1, result.images));
  return result;
}

}  // namespace lacuna
