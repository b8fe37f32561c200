// Labelled images from folders and archives laid out as CLASS/file.jpg (any depth above), and their preprocessing.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
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

// Decodes JPEG or PNG (by content; greyscale and palettes become RGB, alpha is dropped). Throws InvalidData naming `name`, also where the decoder
// would go on with made-up pixels: a file that is cut off or holds bad codes.
Image decode_image(std::span<const std::byte> bytes, std::string_view name);

// Labelled images that stay where they are: their names are read at once, their bytes when they are visited, so that a data set may be larger than
// memory.
class ImageDataset {
 public:
  // Every .jpg, .jpeg and .png below its class folder. `limit`: so many of them, evenly spread over the sorted paths, so that every class is
  // represented; 0: all. Throws NotFound, InvalidData (no image, an image in no class folder, two of one path).
  explicit ImageDataset(std::filesystem::path source, int64_t limit = 0);
  const std::filesystem::path& source() const { return source_; }
  const std::vector<std::string>& classes() const { return classes_; }  // sorted folder names: label = index
  int64_t size() const { return int64_t(labels_.size()); }
  int64_t found() const { return found_; }  // before the limit

  struct File {
    std::string name;  // "SOURCE: PATH", for messages
    int64_t label;
    std::vector<std::byte> bytes;
  };
  // Calls visit(files) with `batch` of them at a time, the last time with what is left, in the order in which they lie in the source.
  // Returns the hash of all paths and bytes, for protocols: the same for a folder and for an archive in any order.
  // Throws InvalidData (a damaged archive, files that have gone since their names were read).
  std::string visit(int64_t batch, const std::function<void(std::span<const File>)>& visit) const;

 private:
  std::filesystem::path source_;
  std::vector<std::string> classes_;
  std::map<std::string, int64_t> labels_;  // by path
  int64_t found_ = 0;
};

// How an image becomes [3, height, width] in f32, or [height, width, 3] with the channels last: resize the shorter side (bilinear, half-pixel
// centres), crop the centre, scale to [0, 1], normalise per channel.
struct ImagePreprocessing {
  int64_t resize = 0;               // shorter side in pixels; 0: as needed to reach the crop
  int64_t height = 32, width = 32;  // crop
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f};
  std::array<float, 3> deviation = {0.229f, 0.224f, 0.225f};
  bool channels_last = false;  // as TensorFlow has them
  std::string describe() const;
};
void preprocess(const Image& image, const ImagePreprocessing& how, std::span<float> out);

}  // namespace lacuna
