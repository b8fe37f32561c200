#include "data/images.h"

// clang-format off
#include <cstdio>  // before jpeglib.h, which needs FILE
#include <jpeglib.h>
#include <jerror.h>
// clang-format on
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

// What libjpeg only warns of and leaves every pixel as it was written; all else it warns of, it makes up pixels for.
bool is_harmless(int warning) {
  return warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_ADOBE_XFORM || warning == JWRN_JFIF_MAJOR || warning == JWRN_BOGUS_ICC;
}

// libjpeg reports by longjmp, so nothing with a destructor may live between setjmp and the calls that can jump.
bool decode_jpeg_into(std::span<const std::byte> bytes, Image& image, JpegError& error) {
  jpeg_decompress_struct jpeg{};
  jpeg.err = jpeg_std_error(&error.base);
  error.base.error_exit = [](j_common_ptr info) {
    auto* e = reinterpret_cast<JpegError*>(info->err);
    info->err->format_message(info, e->message);
    std::longjmp(e->jump, 1);
  };
  error.base.emit_message = [](j_common_ptr info, int level) {
    if (level < 0 && !is_harmless(info->err->msg_code)) info->err->error_exit(info);
  };
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
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()))
    throw InvalidData(cat(name, ": damaged PNG: ", static_cast<const char*>(png.message)));
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
  if (!png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr))
    throw InvalidData(cat(name, ": damaged PNG: ", static_cast<const char*>(png.message)));
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

ImageDataset::ImageDataset(std::filesystem::path source, int64_t limit) : source_(std::move(source)) {
  std::vector<std::string> paths;
  auto note = [&](const std::string& path) {
    if (is_image(path)) paths.push_back(path);
    return false;
  };
  for_each_file(source_, note, [](FileEntry) {});
  if (paths.empty()) throw InvalidData(cat(source_, ": holds no .jpg or .png image"));
  std::sort(paths.begin(), paths.end());
  if (auto twice = std::adjacent_find(paths.begin(), paths.end()); twice != paths.end())
    throw InvalidData(cat(source_, ": holds '", *twice, "' twice"));
  auto class_of = [&](const std::string& path) {
    std::string folder = std::filesystem::path(path).parent_path().filename().string();
    if (folder.empty()) throw InvalidData(cat(source_, ": '", path, "' is in no class folder; wanted CLASS/", path));
    return folder;
  };
  std::map<std::string, int64_t> class_labels;
  for (auto& path : paths) class_labels[class_of(path)] = 0;
  for (auto& [name, label] : class_labels) {
    label = int64_t(classes_.size());
    classes_.push_back(name);
  }
  found_ = int64_t(paths.size());
  size_t count = limit > 0 ? std::min(size_t(limit), paths.size()) : paths.size();
  for (size_t i = 0; i < count; i++) {
    const std::string& path = paths[i * paths.size() / count];
    labels_[path] = class_labels[class_of(path)];
  }
}

std::string ImageDataset::visit(int64_t batch, const std::function<void(std::span<const File>)>& visit) const {
  std::map<std::string, std::string> hashes;  // by path
  std::vector<File> files;
  auto wanted = [&](const std::string& path) { return labels_.contains(path); };
  for_each_file(source_, wanted, [&](FileEntry file) {
    hashes[file.path] = hash_hex(file.bytes);
    files.push_back({cat(source_, ": ", file.path), labels_.at(file.path), std::move(file.bytes)});
    if (int64_t(files.size()) < batch) return;
    visit(files);
    files.clear();
  });
  if (hashes.size() != labels_.size())
    throw InvalidData(cat(source_, ": holds ", hashes.size(), " of the ", labels_.size(), " images that it held a moment ago"));
  if (!files.empty()) visit(files);
  Hasher hasher;
  for (auto& [path, hash] : hashes) hasher.update(cat(path, "\n", hash, "\n"));
  return hasher.hex();
}

std::string ImagePreprocessing::describe() const {
  // Without a size pictures are made as small as the crop allows.
  const std::string size = resize || height == width ? cat(resize ? resize : height) : "to cover";
  return cat("resize ", size, ", crop ", height, "x", width, ", mean ", std::span<const float>(mean), ", std ", std::span<const float>(deviation),
             channels_last ? ", channels last" : "");
}

void preprocess(const Image& image, const ImagePreprocessing& how, std::span<float> out) {
  LACUNA_ASSERT(int64_t(out.size()) == 3 * how.height * how.width);
  int64_t shorter = std::min(image.height, image.width);
  bool exact = !how.resize && image.height == how.height && image.width == how.width;
  double wanted =
      how.resize ? double(how.resize)
                 : std::max(double(how.height) * double(shorter) / double(image.height), double(how.width) * double(shorter) / double(image.width));
  double scale = exact ? 1.0 : wanted / double(shorter);
  int64_t full_h = std::max(how.height, int64_t(std::lround(double(image.height) * scale)));
  int64_t full_w = std::max(how.width, int64_t(std::lround(double(image.width) * scale)));
  int64_t top = (full_h - how.height) / 2, left = (full_w - how.width) / 2;
  auto source = [](int64_t i, int64_t full, int64_t size) {
    return std::clamp((double(i) + 0.5) * double(size) / double(full) - 0.5, 0.0, double(size - 1));
  };
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
        int64_t at = how.channels_last ? (y * how.width + x) * 3 + c : (c * how.height + y) * how.width + x;
        out[size_t(at)] = (float(value / 255.0) - how.mean[size_t(c)]) / how.deviation[size_t(c)];
      }
    }
  }
}

}  // namespace lacuna
