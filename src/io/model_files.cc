// Which files a model consists of.
#include <algorithm>
#include <set>

#include "base/buffer.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/onnx/files.h"
#include "io/source.h"
#include "models/config.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

// What describes a Hugging Face model beside its weights; the tokenizer by every name that load_tokenizer looks for.
constexpr const char* kDescriptions[] = {"config.json",
                                         "generation_config.json",
                                         "preprocessor_config.json",
                                         "modules.json",
                                         "config_sentence_transformers.json",
                                         "sentence_bert_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "tokenizer.model",
                                         "sentencepiece.bpe.model",
                                         "spiece.model"};

void add_folder(const fs::path& folder, std::set<fs::path>& out) {
  for (const char* name : kDescriptions)
    if (fs::is_regular_file(folder / name)) out.insert(folder / name);
  for (auto& file : safetensors_files(folder)) out.insert(file);
}

// The directory, and the folders of a sentence-transformers model. Weights beside modules.json belong to the module that is "".
std::set<fs::path> huggingface_files(const fs::path& directory) {
  std::set<fs::path> out;
  add_folder(directory, out);
  fs::path modules = directory / "modules.json";
  if (fs::exists(modules))
    for (auto& module : Config::parse_array(read_text_file(modules, size_t(64) << 20), modules.string()))
      if (fs::path folder = module.text("path"); !folder.empty()) add_folder(directory / folder, out);
  return out;
}

}  // namespace

std::vector<fs::path> model_files(const fs::path& path) {
  switch (detect_model(path)) {
    case ModelKind::kOnnx: return onnx::files_of_model(path);
    case ModelKind::kLacuna: return lacuna_files(path);
    case ModelKind::kGguf: return {path};
    case ModelKind::kHuggingFace: break;
  }
  std::set<fs::path> files = huggingface_files(path);
  return {files.begin(), files.end()};
}

int64_t bytes_on_disk(const fs::path& path) {
  int64_t total = 0;
  for (auto& file : model_files(path)) {
    std::error_code error;
    if (auto bytes = fs::file_size(file, error); !error) total += int64_t(bytes);
  }
  return total;
}

}  // namespace lacuna
