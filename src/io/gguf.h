// GGUF files of llama.cpp: typed key-value pairs, tensor descriptions, then the tensors' blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "sparse/weight.h"

namespace lacuna {

struct GgufTensor {
  std::string name;
  Shape shape;        // rows first; ggml states them the other way round
  uint32_t type = 0;  // ggml's number
  size_t offset = 0;  // from the start of the file
  size_t size_bytes = 0;
};

// A parsed header. Foreign bytes, validated whole: counts, lengths, nesting, offsets, sizes, overlap.
class GgufFile {
 public:
  // Maps the file. Throws NotFound, IoError, InvalidData; Unsupported on an unknown version, or listing every tensor of a type that
  // Lacuna does not read.
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);
  // The same from bytes; `name` opens every message.
  GgufFile(Bytes bytes, std::string name);

  const std::string& name() const { return name_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;  // nullptr if absent
  Bytes bytes_of(const GgufTensor& tensor) const { return bytes_.slice(tensor.offset, tensor.size_bytes); }

  // Values by key; nullopt if absent. Throw InvalidData if the value has another type. Any integer type is an integer.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  // floats and integers
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;  // arrays; empty if absent
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;

  // A pair as it lies in the file, for writing it again.
  struct KeyValue {
    std::string key;
    uint32_t type = 0;
    Bytes value;
  };
  const std::vector<KeyValue>& key_values() const { return key_values_; }

 private:
  const KeyValue* find_key(std::string_view key) const;
  [[noreturn]] void wrong_type(const KeyValue& kv, std::string_view wanted) const;
  std::string name_;
  Bytes bytes_;
  std::vector<KeyValue> key_values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> keys_, tensor_index_;
};

// A weight of layout kNone in its own encoding (gguf_blocks.h): floats are views into the mapping, blocks become codes, scales
// and minima of groups when loaded.
Weight gguf_weight(std::shared_ptr<const GgufFile> file, const GgufTensor& tensor);

// The tokenizer of a GGUF file, in the terms of its keys.
struct GgufTokenizer {
  std::string model;                // tokenizer.ggml.model: "gpt2", "llama", "bert"
  std::string pre;                  // tokenizer.ggml.pre
  std::vector<std::string> tokens;  // by id
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  int32_t bos = -1, eos = -1, unk = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = true;
  std::string chat_template;  // "" if there is none
};
// Of a GGUF file, or of the tokenizer.gguf in a Lacuna directory. Throws NotFound if it has no tokens.
GgufTokenizer gguf_tokenizer(const std::filesystem::path& path);

// Where a model that came from GGUF keeps its key-value pairs: the file itself, or tokenizer.gguf in a Lacuna directory.
inline constexpr std::string_view kGgufHeaderFile = "tokenizer.gguf";
// The pairs of a file as a GGUF file without tensors: what a Lacuna directory keeps.
std::string gguf_header_only(const GgufFile& file);

}  // namespace lacuna
