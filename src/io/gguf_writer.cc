#include <algorithm>
#include <cstring>
#include <map>

#include "base/cat.h"
#include "io/gguf.h"
#include "io/gguf_blocks.h"
#include "io/model.h"
#include "io/output_directory.h"
#include "io/output_file.h"
#include "lacuna/error.h"
#include "models/builder.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kU32 = 4;
constexpr size_t kAlignment = 32;
constexpr std::string_view kRopeFactors = "rope_freqs.weight";  // read into the Graph, so not one of its weights

struct Choice {
  std::string_view name;
  uint32_t type, file_type;  // ggml's number, general.file_type
};
constexpr Choice kChoices[] = {{"f16", kGgufF16, 1}, {"q8_0", kGgufQ8_0, 7}, {"q4_0", kGgufQ4_0, 2}};
// What a weight may stay in: the encoding here is the same, bit for bit.
constexpr Choice kLossless[] = {{"f32", kGgufF32, 0},   {"f16", kGgufF16, 1},   {"bf16", kGgufBf16, 32},
                                {"q8_0", kGgufQ8_0, 7}, {"q4_0", kGgufQ4_0, 2}, {"q4_1", kGgufQ4_1, 3}};

// nullptr for "": each weight as it is, where that can be written.
const Choice* choice_named(std::string_view name) {
  if (name.empty()) return nullptr;
  std::vector<std::string> known;
  for (auto& c : kChoices) {
    if (c.name == name) return &c;
    known.emplace_back(c.name);
  }
  throw InvalidArgument(cat("GGUF encoding '", name, "' is unknown; known are ", join(known)));
}

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_string(std::string& out, std::string_view text) {
  put(out, uint64_t(text.size()));
  out += text;
}
void put_u32_pair(std::string& out, std::string_view key, uint32_t value) {
  put_string(out, key);
  put(out, kU32);
  put(out, value);
}

// The pairs of the source, those that describe the tensors renewed.
std::string header(const GgufFile& source, uint64_t tensors, std::optional<uint32_t> file_type) {
  auto renewed = [&](const std::string& key) {
    return key == "general.alignment" || (file_type && (key == "general.file_type" || key == "general.quantization_version"));
  };
  std::string pairs;
  uint64_t count = 0;
  for (auto& kv : source.key_values()) {
    if (renewed(kv.key)) continue;
    put_string(pairs, kv.key);
    put(pairs, kv.type);
    pairs.append(reinterpret_cast<const char*>(kv.value.data), kv.value.size);
    count++;
  }
  if (file_type) {
    put_u32_pair(pairs, "general.file_type", *file_type);
    put_u32_pair(pairs, "general.quantization_version", 2);
    count += 2;
  }
  std::string out = "GGUF";
  put(out, uint32_t(3));
  put(out, tensors);
  put(out, count);
  return out + pairs;
}

// Is this the encoding of the weight, so that codes and scales are only laid out anew? Minima leave no code for a removed weight.
bool is_lossless(const Weight& weight, uint32_t id) {
  const GgufType& type = *gguf_type(id);
  bool removes = !weight.pattern.empty() && type.encoding.has_minima;
  return weight.encoding == type.encoding && !removes && (!type.decode || weight.layout == MatrixLayout::kOutIn);
}

// Vectors in F32, as llama.cpp wants them. Matrices in the chosen type; without a choice in their own, else F16, which no output
// notices (Q8_0 changes the perplexity of a pruned SmolLM2 by 0.7 %). F16 also where rows do not divide into blocks.
uint32_t type_for(const Weight& weight, const Choice* choice) {
  if (weight.shape.size() < 2) return kGgufF32;
  uint32_t id = choice ? choice->type : kGgufF16;
  if (!choice)
    for (auto& own : kLossless)
      if (is_lossless(weight, own.type)) id = own.type;
  return weight.shape.back() % gguf_type(id)->elements == 0 ? id : kGgufF16;
}

// general.file_type: that of most parameters in matrices.
uint32_t file_type_of(std::span<const Weight* const> weights, const Choice* choice) {
  if (choice) return choice->file_type;
  std::map<uint32_t, int64_t> sizes;
  for (auto* w : weights)
    if (w->shape.size() > 1) sizes[type_for(*w, choice)] += w->size();
  auto most = std::max_element(std::begin(kLossless), std::end(kLossless), [&](auto& a, auto& b) { return sizes[a.type] < sizes[b.type]; });
  return most->file_type;
}

// Codes and scales as they are, blocks of 32; what the mask removed becomes the code of zero.
void lay_out_codes(const Weight& weight, const WeightData& data, uint32_t id, std::byte* out) {
  const GgufType& type = *gguf_type(id);
  MatrixView view(weight.layout, weight.shape);
  int64_t groups = view.cols / type.elements, row_bytes = view.cols * bits_of(data.values.dtype()) / 8;
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t g = 0; g < groups; g++, out += type.bytes) {
      std::byte* to = out;
      std::memcpy(to, data.scales.raw() + (r * groups + g) * 2, 2), to += 2;
      if (type.encoding.has_minima) std::memcpy(to, data.minima.raw() + (r * groups + g) * 2, 2), to += 2;
      const std::byte* codes = data.values.raw() + r * row_bytes;
      auto kept = [&](int64_t c) { return !data.mask || data.mask->kept(r, c); };
      if (id == kGgufQ8_0) {
        for (int64_t i = 0, c = g * 32; i < 32; i++, c++) to[i] = kept(c) ? codes[c] : std::byte(0);
        continue;
      }
      unsigned flip = id == kGgufQ4_0 ? 8 : 0;  // ggml stores q + 8 where we store the two's complement
      auto nibble = [&](int64_t c) { return ((kept(c) ? unsigned(codes[c / 2]) >> (c % 2 * 4) & 15 : 0) ^ flip); };
      for (int64_t i = 0, c = g * 32; i < 16; i++, c++) to[i] = std::byte(nibble(c) | nibble(c + 16) << 4);
    }
}

std::string encode(const Weight& weight, uint32_t id) {
  const GgufType& type = *gguf_type(id);
  std::string out(size_t(weight.size() / type.elements * type.bytes), '\0');
  std::byte* to = reinterpret_cast<std::byte*>(out.data());
  WeightData data = weight.load();
  if (type.decode && is_lossless(weight, id)) {
    lay_out_codes(weight, data, id, to);
    return out;
  }
  Tensor values = decode_f32(weight, data);
  const float* x = values.data<float>().data();
  if (!type.decode) {
    convert_from_f32(x, values.size(), type.encoding.values, to);
    return out;
  }
  auto* block = id == kGgufQ8_0 ? encode_q8_0 : encode_q4_0;
  for (int64_t i = 0; i < values.size() / type.elements; i++) block(x + i * type.elements, to + i * type.bytes);
  return out;
}

size_t aligned(size_t at) { return (at + kAlignment - 1) / kAlignment * kAlignment; }

void describe(std::string& out, const std::string& name, const Shape& shape, uint32_t id, size_t offset) {
  put_string(out, name);
  put(out, uint32_t(std::max<size_t>(shape.size(), 1)));
  for (size_t i = shape.size(); i-- > 0;) put(out, uint64_t(shape[i]));
  if (shape.empty()) put(out, uint64_t(1));
  put(out, id);
  put(out, uint64_t(offset));
}

}  // namespace

std::string gguf_header_only(const GgufFile& file) {
  const GgufTensor* factors = file.find(kRopeFactors);
  std::string out = header(file, factors ? 1 : 0, std::nullopt);
  if (!factors) return out;
  describe(out, factors->name, factors->shape, factors->type, 0);
  out.resize(aligned(out.size()), '\0');
  Bytes bytes = file.bytes_of(*factors);
  return out.append(reinterpret_cast<const char*>(bytes.data), bytes.size);
}

void write_gguf(const Graph& graph, const fs::path& source_path, const fs::path& out, std::string_view encoding, Progress* progress, bool force) {
  const Choice* choice = choice_named(encoding);
  check_replaceable(out, force);
  if (fs::is_directory(out)) throw InvalidArgument(cat(out, ": is a directory; a GGUF model is one file"));
  fs::path keys = fs::is_directory(source_path) ? source_path / kGgufHeaderFile : source_path;
  if (!fs::exists(keys)) throw Unsupported(cat(out, ": this ", graph.family, " model did not come from a GGUF file (", keys, " does not exist)"));
  auto source = GgufFile::open(keys);
  std::vector<const Weight*> weights;
  for (auto& w : graph.weights)
    if (!w.name.starts_with(kConstantPrefix)) weights.push_back(&w);
  const GgufTensor* factors = source->find(kRopeFactors);
  std::string text = header(*source, weights.size() + (factors ? 1 : 0), file_type_of(weights, choice));
  size_t at = 0;
  auto declare = [&](const std::string& name, const Shape& shape, uint32_t id) {
    describe(text, name, shape, id, at);
    at = aligned(at + size_t(element_count(shape) / gguf_type(id)->elements * gguf_type(id)->bytes));
  };
  if (factors) declare(factors->name, factors->shape, factors->type);
  for (auto* w : weights) declare(w->name, w->shape, type_for(*w, choice));
  text.resize(aligned(text.size()), '\0');

  OutputFile file(out);
  file.reserve(int64_t(text.size() + at));
  auto append_padded = [&](std::string_view bytes) {
    file.append(bytes);
    file.append(std::string(aligned(bytes.size()) - bytes.size(), '\0'));
  };
  file.append(text);
  if (factors) append_padded({reinterpret_cast<const char*>(source->bytes_of(*factors).data), factors->size_bytes});
  int64_t done = 0;
  for (auto* w : weights) {
    append_padded(encode(*w, type_for(*w, choice)));
    w->source->drop();
    if (progress) progress->update("writing", ++done, int64_t(weights.size()));
  }
  file.commit();
}

}  // namespace lacuna
