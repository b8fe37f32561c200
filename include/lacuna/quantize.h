// Rounding weights and activations to integers. Quantization is a stage of a recipe: run it with sparsify() of lacuna/prune.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lacuna {

// One quantize line of a recipe. Field names are the recipe's keys.
struct QuantizeLine {
  std::string weights =
      "int8";               // int8: one scale per output row | int4: one scale per group of columns; output heads and convolutions then take int8
  int64_t group_size = 32;  // int4: columns per scale, a multiple of 32
  bool requantize = false;  // round weights again that are coded in as few bits already, instead of leaving them
  std::string activations =
      "none";  // none | int8: linear layers round each token as it comes; with a dataset of images, scales are calibrated and fixed
  std::vector<std::string> targets;  // names, op types (Linear, Conv2d), re:REGEX; empty: every linear and conv, output heads included
  std::vector<std::string> ignore;   // same, taken away
  std::vector<std::string> include;  // adds what is not quantized by default: depthwise convolutions, routers
  // Calibration of int8 activations, needed for convolutions.
  std::string dataset;                    // images: a folder or archive of CLASS/file.jpg
  std::string method = "mse";             // minmax | percentile | mse: what decides a scale
  double percentile = 99.99;              // of the magnitudes, that a scale covers
  int64_t num_calibration_samples = 128;  // spread evenly over the dataset
  int64_t resize = 0, crop = 0;           // of images, as in `lacuna eval`; 0: from the model's input
  std::vector<float> mean, deviation;     // empty: ImageNet's
};

}  // namespace lacuna
