#include <algorithm>
#include <cstring>

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

const Choice& choice_named(std::string_view name) {
  std::vector<std::string> known;
  for (auto& c : kChoices) {
    if (c.name == name) return c;
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

// Matrices in the chosen type where their rows divide into its blocks, else F16; vectors in F32, as llama.cpp wants them.
uint32_t type_for(const Weight& weight, const Choice& choice) {
  if (weight.shape.size() < 2) return kGgufF32;
  return weight.shape.back() % gguf_type(choice.type)->elements == 0 ? choice.type : kGgufF16;
}

std::string encode(const Weight& weight, uint32_t id) {
  Tensor values = decode_f32(weight, weight.load());
  const GgufType& type = *gguf_type(id);
  const float* x = values.data<float>().data();
  std::string out(size_t(values.size() / type.elements * type.bytes), '\0');
  std::byte* to = reinterpret_cast<std::byte*>(out.data());
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
  const Choice& choice = choice_named(encoding);
  check_replaceable(out, force);
  if (fs::is_directory(out)) throw InvalidArgument(cat(out, ": is a directory; a GGUF model is one file"));
  fs::path keys = fs::is_directory(source_path) ? source_path / kGgufHeaderFile : source_path;
  if (!fs::exists(keys)) throw Unsupported(cat(out, ": this ", graph.family, " model did not come from a GGUF file (", keys, " does not exist)"));
  auto source = GgufFile::open(keys);
  std::vector<const Weight*> weights;
  for (auto& w : graph.weights)
    if (!w.name.starts_with(kConstantPrefix)) weights.push_back(&w);
  const GgufTensor* factors = source->find(kRopeFactors);
  std::string text = header(*source, weights.size() + (factors ? 1 : 0), choice.file_type);
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
