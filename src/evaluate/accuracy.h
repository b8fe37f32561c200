// Top-1 and top-5 accuracy of an image classifier.
#pragma once

#include "data/images.h"
#include "lacuna/progress.h"
#include "runtime/session.h"

namespace lacuna {

struct AccuracyResult {
  double top1 = 0, top5 = 0;
  int64_t images = 0;
};

// The first 4-D input takes [batch, 3, height, width]; the first output is [batch, classes]. Ties rank the lower class first.
// Throws Unsupported if the model has no such ports, InvalidArgument if a label has no class.
AccuracyResult accuracy(Session& session, const ImageDataset& data, const ImagePreprocessing& how, int64_t batch, Progress* progress = nullptr);

}  // namespace lacuna
