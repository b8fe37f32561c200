#include "data/images.h"

#include <cstdio>  // before jpeglib.h, which needs FILE
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <map>

#include "base/cat.h"
#include "base/hash.h"
#include "data/archive.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr int64_t kLargestSide = 1 << 15;

void check_size(int64_t height, int64_t width, std::string_view name) {
  if (height < 1 || width < 1 || height > kLargestSide || width > kLargestSide)
    throw InvalidData(cat(name, ": image of ", height, " x ", width, " pixels, 1 to ", kLargestSide, " supported"));
}

struct JpegError {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

// libjpeg reports by longjmp, so nothing with a destructor may live between setjmp and the calls that can jump.
bool decode_jpeg_into(std::span<const std::byte> bytes, Image& image, JpegError& error) {
  jpeg_decompress_struct jpeg{};
  jpeg.err = jpeg_std_error(&error.base);
  error.base.error_exit = [](j_common_ptr info) {
    auto* e = reinterpret_cast<JpegError*>(info->err);
    info->err->format_message(info, e->message);
    std::longjmp(e->jump, 1);
  };
  error.base.output_message = [](j_common_ptr) {};
  if (setjmp(error.jump)) {
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  if (jpeg.image_width > kLargestSide || jpeg.image_height > kLargestSide) {
    std::strcpy(error.message, "image too large");
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  jpeg_start_decompress(&jpeg);
  image.height = jpeg.output_height;
  image.width = jpeg.output_width;
  image.pixels.resize(size_t(image.height * image.width * 3));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = image.pixels.data() + size_t(jpeg.output_scanline) * size_t(image.width) * 3;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return true;
}

Image decode_jpeg(std::span<const std::byte> bytes, std::string_view name) {
  Image image;
  JpegError error{};
  if (!decode_jpeg_into(bytes, image, error)) throw InvalidData(cat(name, ": damaged JPEG: ", static_cast<const char*>(error.message)));
  return image;
}

Image decode_png(std::span<const std::byte> bytes, std::string_view name) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size())) throw InvalidData(cat(name, ": damaged PNG: ", static_cast<const char*>(png.message)));
  png.format = PNG_FORMAT_RGB;
  Image image{png.height, png.width, {}};
  try {
    check_size(image.height, image.width, name);
  } catch (...) {
    png_image_free(&png);
    throw;
  }
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  png_color black{};
  if (!png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr)) throw InvalidData(cat(name, ": damaged PNG: ", static_cast<const char*>(png.message)));
  return image;
}

bool is_image(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view name) {
  auto starts = [&](std::string_view magic) { return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0; };
  if (starts("\xff\xd8")) return decode_jpeg(bytes, name);
  if (starts("\x89PNG")) return decode_png(bytes, name);
  throw InvalidData(cat(name, ": neither a JPEG nor a PNG"));
}

ImageDataset read_images(const std::filesystem::path& source, int64_t limit) {
  std::vector<FileEntry> files;
  for_each_file(source, is_image, [&](FileEntry f) { files.push_back(std::move(f)); });
  std::sort(files.begin(), files.end(), [](auto& a, auto& b) { return a.path < b.path; });
  if (files.empty()) throw InvalidData(cat(source, ": holds no .jpg or .png image"));
  std::map<std::string, int64_t> labels;
  auto class_of = [&](const std::string& path) {
    std::string folder = std::filesystem::path(path).parent_path().filename().string();
    if (folder.empty()) throw InvalidData(cat(source, ": '", path, "' is in no class folder; wanted CLASS/", path));
    return folder;
  };
  for (auto& f : files) labels[class_of(f.path)] = 0;
  ImageDataset data;
  for (auto& [name, label] : labels) {
    label = int64_t(data.classes.size());
    data.classes.push_back(name);
  }
  // A limit takes every k-th image, so that every class is represented.
  size_t count = limit > 0 ? std::min(size_t(limit), files.size()) : files.size();
  Hasher hasher;
  for (size_t i = 0; i < count; i++) {
    FileEntry& f = files[i * files.size() / count];
    hasher.update(f.path);
    hasher.update(std::span<const std::byte>(f.bytes));
    data.images.push_back({f.path, labels[class_of(f.path)], decode_image(f.bytes, cat(source, ": ", f.path))});
    f.bytes = {};
  }
  data.hash = hasher.hex();
  return data;
}

std::string ImagePreprocessing::describe() const {
  return cat("resize ", resize ? resize : std::min(height, width), ", crop ", height, "x", width, ", mean ", std::span<const float>(mean), ", std ", std::span<const float>(deviation));
}

void preprocess(const Image& image, const ImagePreprocessing& how, std::span<float> out) {
  LACUNA_ASSERT(int64_t(out.size()) == 3 * how.height * how.width);
  int64_t shorter = std::min(image.height, image.width);
  bool exact = !how.resize && image.height == how.height && image.width == how.width;
  double wanted = how.resize ? double(how.resize) : std::max(double(how.height) * double(shorter) / double(image.height), double(how.width) * double(shorter) / double(image.width));
  double scale = exact ? 1.0 : wanted / double(shorter);
  int64_t full_h = std::max(how.height, int64_t(std::lround(double(image.height) * scale)));
  int64_t full_w = std::max(how.width, int64_t(std::lround(double(image.width) * scale)));
  int64_t top = (full_h - how.height) / 2, left = (full_w - how.width) / 2;
  auto source = [](int64_t i, int64_t full, int64_t size) { return std::clamp((double(i) + 0.5) * double(size) / double(full) - 0.5, 0.0, double(size - 1)); };
  for (int64_t y = 0; y < how.height; y++) {
    double sy = source(y + top, full_h, image.height);
    int64_t y0 = int64_t(sy), y1 = std::min(y0 + 1, image.height - 1);
    double fy = sy - double(y0);
    for (int64_t x = 0; x < how.width; x++) {
      double sx = source(x + left, full_w, image.width);
      int64_t x0 = int64_t(sx), x1 = std::min(x0 + 1, image.width - 1);
      double fx = sx - double(x0);
      for (int64_t c = 0; c < 3; c++) {
        auto pixel = [&](int64_t py, int64_t px) { return double(image.pixels[size_t((py * image.width + px) * 3 + c)]); };
        double value = (pixel(y0, x0) * (1 - fx) + pixel(y0, x1) * fx) * (1 - fy) + (pixel(y1, x0) * (1 - fx) + pixel(y1, x1) * fx) * fy;
        out[size_t((c * how.height + y) * how.width + x)] = (float(value / 255.0) - how.mean[size_t(c)]) / how.deviation[size_t(c)];
      }
    }
  }
}

}  // namespace lacuna
