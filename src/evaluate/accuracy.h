// Top-1 and top-5 accuracy of an image classifier.
#pragma once

#include "data/images.h"
#include "lacuna/progress.h"
#include "runtime/session.h"

namespace lacuna {

// How images become the model's first 4-D input. `crop` 0: the input's own size; empty mean and deviation: ImageNet's.
// Throws Unsupported if there is no such input, InvalidArgument on sizes and numbers that do not fit; `model` names the model in them.
ImagePreprocessing image_preprocessing(const Graph& graph, int64_t resize, int64_t crop, const std::vector<float>& mean,
                                       const std::vector<float>& deviation, std::string_view model = "the model");
// The name of that input, "" if there is none.
std::string image_input(const Graph& graph);
// How many images it takes at a time: what it is fixed to, else `open`.
int64_t image_batch_size(const Graph& graph, int64_t open);

// The images in these files, decoded and preprocessed, as [n, 3, height, width], or [n, height, width, 3] with the channels last.
Tensor image_batch(std::span<const ImageDataset::File> files, const ImagePreprocessing& how);

struct AccuracyResult {
  double top1 = 0, top5 = 0;
  int64_t images = 0;
  std::string dataset_hash;  // of names and file bytes
};

// The first 4-D input takes [batch, 3, height, width] or [batch, height, width, 3]; the first output is [batch, classes]. Ties rank the lower class
// first. Images are read and decoded a batch at a time. Throws Unsupported if the model has no such ports, InvalidArgument if a label has no class.
AccuracyResult accuracy(Session& session, const ImageDataset& data, const ImagePreprocessing& how, int64_t batch, Progress* progress = nullptr,
                        std::string_view model = "the model");

}  // namespace lacuna
