// Labelled images from folders and archives laid out as CLASS/file.jpg (any depth above), and their preprocessing.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace lacuna {

// 8-bit RGB pixels, row-major [height, width, 3].
struct Image {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;
};

// Decodes JPEG or PNG (by content; greyscale and palettes become RGB, alpha is dropped). Throws InvalidData naming `name`.
Image decode_image(std::span<const std::byte> bytes, std::string_view name);

struct LabelledImage {
  std::string name;
  int64_t label;
  Image image;
};

struct ImageDataset {
  std::vector<std::string> classes;  // sorted folder names: label = index
  std::vector<LabelledImage> images;
  std::string hash;                  // of names and file bytes, for protocols
};

// Reads every .jpg, .jpeg and .png below its class folder, in sorted order of path; `limit` 0: all.
// Throws NotFound, InvalidData (no image, no class folder).
ImageDataset read_images(const std::filesystem::path& source, int64_t limit = 0);

// How an image becomes a [3, height, width] f32 plane: resize the shorter side (bilinear, half-pixel centres), crop the
// centre, scale to [0, 1], normalise per channel.
struct ImagePreprocessing {
  int64_t resize = 0;                  // shorter side in pixels; 0: as needed to reach the crop
  int64_t height = 32, width = 32;     // crop
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f};
  std::array<float, 3> deviation = {0.229f, 0.224f, 0.225f};
  std::string describe() const;
};
void preprocess(const Image& image, const ImagePreprocessing& how, std::span<float> out);

}  // namespace lacuna
