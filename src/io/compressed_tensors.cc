// Layout, per weight P.weight of R rows and C columns (tensors are named P.compressed or P.weight.compressed):
//   sparse-bitmask     compressed [n]: kept values, row by row; bitmask u8 [R, ceil(C / 8)], lowest bit first; shape i64 [2];
//                      row_offsets i64 [R]: index of each row's first value. Weights of one dimension too (bitmask [ceil(C / 8)]).
//   sparse-24-bitmask  compressed [R, C / 2]; bitmask u8 [R, ceil(C / 8)]; shape i64 [2, 1]
// Source: compressed-tensors 0.9.4, compressors/sparse_compressors/sparse_bitmask.py and sparse_24_bitmask.py.
#include "io/compressed_tensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr std::string_view kBitmask = "sparse-bitmask", k24 = "sparse-24-bitmask";
constexpr std::string_view kParts[] = {".compressed", ".bitmask", ".shape", ".row_offsets"};

// The parts of one weight, each a tensor of the checkpoint.
struct Parts {
  std::optional<Weight> compressed, bitmask, shape, row_offsets;
  std::optional<Weight>& named(std::string_view part) {
    return part == ".compressed" ? compressed : part == ".bitmask" ? bitmask : part == ".shape" ? shape : row_offsets;
  }
};

class BitmaskSource : public WeightSource {
 public:
  BitmaskSource(std::string name, Shape shape, bool two_four, Parts parts)
      : name_(std::move(name)), shape_(std::move(shape)), two_four_(two_four), parts_(std::move(parts)) {}

  WeightData load() const override {
    Tensor kept = parts_.compressed->load().values, bits = parts_.bitmask->load().values;
    int64_t rows = shape_.size() == 2 ? shape_[0] : 1, cols = shape_.back();
    Mask mask = read_mask(bits, rows, cols);
    int64_t count = mask.count_kept();
    if (count != kept.size()) throw InvalidData(cat(name_, ": the bitmask keeps ", count, " weights, ", kept.size(), " values are stored"));
    if (!two_four_) check_row_offsets(mask);
    WeightData data{.values = scatter(kept, mask)};
    if (shape_.size() == 2 && count != rows * cols) data.mask = std::move(mask);
    return data;
  }
  int64_t stored_bytes() const override {
    int64_t bytes = 0;
    for (auto* part : {&parts_.compressed, &parts_.bitmask, &parts_.shape, &parts_.row_offsets})
      if (*part) bytes += (*part)->source->stored_bytes();
    return bytes;
  }
  std::string stored_format() const override { return "bitmask"; }
  void drop() const override {
    parts_.compressed->source->drop();
    parts_.bitmask->source->drop();
  }

 private:
  Mask read_mask(const Tensor& bits, int64_t rows, int64_t cols) const {
    Mask mask(rows, cols, false);
    int64_t row_bytes = (cols + 7) / 8;
    for (int64_t r = 0; r < rows; r++) {
      const std::byte* in = bits.raw() + r * row_bytes;
      if (cols % 8 && (uint8_t(in[row_bytes - 1]) >> (cols % 8)))
        throw InvalidData(cat(name_, ": the bitmask of row ", r, " has bits beyond column ", cols));
      // Words are little-endian runs of the same bits.
      std::memcpy(mask.mutable_row(r).data(), in, size_t(row_bytes));
    }
    return mask;
  }

  void check_row_offsets(const Mask& mask) const {
    Tensor offsets = parts_.row_offsets->load().values;
    int64_t at = 0;
    for (int64_t r = 0; r < mask.rows(); r++) {
      if (offsets.data<int64_t>()[size_t(r)] != at)
        throw InvalidData(cat(name_, ": row ", r, " is stated to start at value ", offsets.data<int64_t>()[size_t(r)], ", the bitmask says ", at));
      at += mask.count_kept(r);
    }
  }

  Tensor scatter(const Tensor& kept, const Mask& mask) const {
    Tensor out(kept.dtype(), shape_);
    size_t width = size_t(bits_of(kept.dtype()) / 8);
    const std::byte* next = kept.raw();
    for (int64_t r = 0; r < mask.rows(); r++) {
      std::byte* row = out.mutable_raw() + size_t(r * mask.cols()) * width;
      auto words = mask.row(r);
      for (size_t w = 0; w < words.size(); w++)
        for (uint64_t word = words[w]; word; word &= word - 1, next += width)
          std::memcpy(row + (w * 64 + size_t(std::countr_zero(word))) * width, next, width);
    }
    return out;
  }

  std::string name_;
  Shape shape_;
  bool two_four_;
  Parts parts_;
};

// The format and sparsity that the configuration states; nullopt where nothing is compressed.
struct Compression {
  bool two_four;
  std::string structure;
};

std::optional<Compression> read_compression(const Config& config) {
  std::optional<Config> outer = config.object("quantization_config"), sparsity = config.object("sparsity_config");
  if (!outer) outer = config.object("compression_config");
  if (outer) {
    if (outer->text("quant_method", "compressed-tensors") != "compressed-tensors") return std::nullopt;
    bool quantized = false;
    if (auto groups = outer->object("config_groups")) quantized = !groups->keys().empty();
    std::string format = outer->text("format", "dense");
    if (quantized)
      throw Unsupported(cat(outer->source(), ": the weights are quantized (format ", format,
                            "); of compressed-tensors, sparse-bitmask and sparse-24-bitmask without quantization are read"));
    if (outer->has("sparsity_config")) sparsity = outer->object("sparsity_config");
  }
  if (!sparsity) return std::nullopt;
  std::string format = sparsity->text("format", "dense"), structure = sparsity->text("sparsity_structure", "unstructured");
  if (format == "dense") return Compression{false, ""};
  if (format != kBitmask && format != k24)
    throw Unsupported(cat(sparsity->source(), ": format is '", format, "', known are dense, ", kBitmask, ", ", k24));
  if (structure == "0:0") structure = "unstructured";
  return Compression{format == k24, format == k24 ? "2:4" : structure};
}

// Shape of the weight, checked against the parts as far as their headers tell; a complaint instead where they contradict.
std::string check_parts(const Parts& parts, bool two_four, Shape& shape) {
  for (auto [part, name] : {std::pair(&parts.compressed, "compressed"), {&parts.bitmask, "bitmask"}, {&parts.shape, "shape"}})
    if (!*part) return cat("has no ", name);
  if (!two_four && !parts.row_offsets) return "has no row_offsets";
  if (parts.shape->encoding.values != DType::kS64 || parts.shape->size() < 1 || parts.shape->size() > 2)
    return cat("states its shape as ", name_of(parts.shape->encoding.values), " ", to_string(parts.shape->shape));
  Tensor stated = parts.shape->load().values;
  shape.assign(stated.data<int64_t>().begin(), stated.data<int64_t>().end());
  for (int64_t d : shape)
    if (d < 1 || d > (int64_t(1) << 31)) return cat("states the shape ", to_string(shape));
  Shape bitmask = shape, kept = shape;
  bitmask.back() = (shape.back() + 7) / 8;
  kept.back() /= 2;
  if (parts.bitmask->encoding.values != DType::kU8 || parts.bitmask->shape != bitmask)
    return cat("has a bitmask of shape ", to_string(parts.bitmask->shape), ", u8 ", to_string(bitmask), " wanted");
  if (two_four && (shape.size() != 2 || shape[1] % 4 != 0))
    return cat("has shape ", to_string(shape), ", a matrix whose columns are a multiple of 4 wanted");
  if (two_four && parts.compressed->shape != kept)
    return cat("has values of shape ", to_string(parts.compressed->shape), ", ", to_string(kept), " wanted");
  if (!two_four && parts.compressed->shape.size() != 1)
    return cat("has values of shape ", to_string(parts.compressed->shape), ", one dimension wanted");
  if (!two_four && (parts.row_offsets->encoding.values != DType::kS64 || parts.row_offsets->size() != (shape.size() == 2 ? shape[0] : 1)))
    return "has row_offsets that do not fit its rows";
  return "";
}

}  // namespace

Checkpoint decompress(Checkpoint checkpoint) {
  auto compression = read_compression(checkpoint.config);
  if (!compression) return checkpoint;
  checkpoint.compression_read = true;
  std::map<std::string, Parts> compressed;
  std::vector<Weight> plain;
  for (Weight& tensor : checkpoint.tensors) {
    auto part = std::find_if(std::begin(kParts), std::end(kParts), [&](std::string_view p) { return tensor.name.ends_with(p); });
    if (part == std::end(kParts)) {
      plain.push_back(std::move(tensor));
      continue;
    }
    std::string name = tensor.name.substr(0, tensor.name.size() - part->size());
    if (!name.ends_with(".weight")) name += ".weight";
    compressed[name].named(*part) = std::move(tensor);
  }
  std::vector<std::string> problems;
  for (auto& [name, parts] : compressed) {
    Shape shape;
    std::string problem = check_parts(parts, compression->two_four, shape);
    if (!problem.empty()) {
      problems.push_back(cat("'", name, "' ", problem));
      continue;
    }
    Weight weight{.name = name, .shape = shape, .encoding = {.values = parts.compressed->encoding.values}, .pattern = compression->structure};
    weight.source = std::make_shared<BitmaskSource>(name, shape, compression->two_four, std::move(parts));
    plain.push_back(std::move(weight));
  }
  if (!problems.empty()) throw InvalidData(cat(checkpoint.config.source(), ": compressed weights are broken: ", join(problems, ", ", 50)));
  checkpoint.tensors = std::move(plain);
  return checkpoint;
}

}  // namespace lacuna
