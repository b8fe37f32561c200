// A directory's tokenizer files -> components.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/components.h"
#include "text/digest.h"
#include "text/hub_config.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFileLimit = size_t(256) << 20;

std::string read(const fs::path& path) { return read_text_file(path, kFileLimit); }

// The lines of a file as UTF-8, without line ends; a last empty one does not count.
std::vector<std::string> lines_of(std::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    append_lossy(lines.emplace_back(), line);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  return lines;
}

// merges.txt: "left right" a line, best first.
std::vector<Merge> read_merges(const std::string& bytes, const Vocabulary& vocabulary, const fs::path& path) {
  std::vector<Merge> merges;
  size_t number = 0;
  for (const std::string& line : lines_of(bytes)) {
    number++;
    if (line.starts_with("#version") || line.empty()) continue;
    size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      throw InvalidData(cat(path, ": line ", number, ": found '", line.substr(0, 80), "', wanted two tokens with a space between them"));
    }
    std::string_view both = line;
    try {
      merges.push_back(named_merge(vocabulary, both.substr(0, space), both.substr(space + 1), merges.size(), ""));
    } catch (const InvalidData& e) {
      throw InvalidData(cat(path, ": line ", number, ": ", e.what()));
    }
  }
  return merges;
}

Vocabulary read_vocabulary(const std::string& bytes, const fs::path& path) {
  nlohmann::json file;
  try {
    file = nlohmann::json::parse(bytes);
  } catch (const nlohmann::json::exception& e) {
    throw InvalidData(cat(path, ": not JSON: ", e.what()));
  }
  if (!file.is_object()) throw InvalidData(cat(path, ": found a JSON ", file.type_name(), ", wanted an object of token: id"));
  Vocabulary vocabulary(file.size());
  for (const auto& [token, id] : file.items()) {
    if (!id.is_number_integer()) throw InvalidData(cat(path, ": the id of '", token, "' is a ", id.type_name(), ", wanted an integer"));
    vocabulary.add(token, id.get<int64_t>());
  }
  return vocabulary;
}

int32_t required_id(const Parts& parts, std::string_view token, const fs::path& path) {
  int32_t id = parts.model->vocabulary().find(token);
  if (id < 0) throw InvalidData(cat(path, ": the vocabulary lacks the special token '", token, "'"));
  return id;
}

// Byte-level BPE as GPT-2 introduced it.
std::unique_ptr<Parts> from_vocab_and_merges(const fs::path& directory, HubConfig& config) {
  constexpr char kQwen2Pattern[] =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  enum class Kind { kGpt2, kRoberta, kQwen2 };
  Kind kind = config.is_one_of({"roberta", "bart", "longformer", "led"})     ? Kind::kRoberta
              : config.is_one_of({"qwen2", "qwen3", "qwen2moe", "qwen3moe"}) ? Kind::kQwen2
              : config.is_one_of({"", "gpt2", "opt", "gptneo", "gptj", "gptneox", "phi", "pretrained"})
                  ? Kind::kGpt2
                  : throw Unsupported(cat(directory, ": vocab.json and merges.txt of tokenizer '", config.family(),
                                          "'; known: GPT2, OPT, GPTNeo, GPTJ, Phi, Roberta, Bart, Qwen2"));
  fs::path vocab_path = directory / "vocab.json", merges_path = directory / "merges.txt";
  std::string vocab_bytes = read(vocab_path), merges_bytes = read(merges_path);
  auto parts = std::make_unique<Parts>();
  Vocabulary vocabulary = read_vocabulary(vocab_bytes, vocab_path);
  std::vector<Merge> merges = read_merges(merges_bytes, vocabulary, merges_path);
  parts->model = make_bpe(std::move(vocabulary), merges, {});
  bool prefix = config.boolean("add_prefix_space", false);
  if (kind == Kind::kQwen2) {
    parts->normalizers.push_back(make_form_normalizer(NormalForm::kNfc));
    parts->pre_tokenizers.push_back(make_split_pre_tokenizer(Regex(kQwen2Pattern), SplitBehavior::kIsolated, false));
    parts->pre_tokenizers.push_back(make_byte_level_pre_tokenizer(prefix, false));
  } else {
    parts->pre_tokenizers.push_back(make_byte_level_pre_tokenizer(prefix, true));
  }
  parts->decoders.push_back(make_byte_level_decoder());
  parts->has_decoder = true;
  if (kind == Kind::kRoberta) {
    config.assume({{"bos_token", "<s>"},
                   {"eos_token", "</s>"},
                   {"unk_token", "<unk>"},
                   {"sep_token", "</s>"},
                   {"pad_token", "<pad>"},
                   {"cls_token", "<s>"},
                   {"mask_token", "<mask>"}});
    parts->post_processors.push_back(make_roberta_processor(required_id(*parts, config.token("cls_token"), vocab_path),
                                                            required_id(*parts, config.token("sep_token"), vocab_path)));
  } else {
    config.assume({{"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}});
    if (kind == Kind::kGpt2) config.assume({{"bos_token", "<|endoftext|>"}});
    if (kind == Kind::kQwen2) config.assume({{"pad_token", "<|endoftext|>"}});
  }
  Digest d;
  d.add("vocab.json");
  d.add(vocab_bytes);
  d.add(merges_bytes);
  parts->hash = d.value();
  return parts;
}

std::unique_ptr<Parts> from_bert_vocab(const fs::path& directory, HubConfig& config) {
  if (!config.is_one_of({"", "bert", "distilbert", "electra", "mobilebert", "convbert", "squeezebert", "layoutlm", "lxmert", "pretrained"})) {
    throw Unsupported(cat(directory, ": vocab.txt of tokenizer '", config.family(),
                          "'; known: Bert, DistilBert, Electra, MobileBert, ConvBert, SqueezeBert, LayoutLM, Lxmert"));
  }
  fs::path path = directory / "vocab.txt";
  std::string bytes = read(path);
  std::vector<std::string> lines = lines_of(bytes);
  Vocabulary vocabulary(lines.size());
  for (size_t i = 0; i < lines.size(); i++) vocabulary.add(lines[i], int64_t(i));
  config.assume({{"unk_token", "[UNK]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"}});
  auto parts = std::make_unique<Parts>();
  bool lower = config.boolean("do_lower_case", true);
  parts->normalizers.push_back(
      make_bert_normalizer(true, config.boolean("tokenize_chinese_chars", true), config.boolean("strip_accents", lower), lower));
  parts->pre_tokenizers.push_back(make_bert_pre_tokenizer());
  parts->model = make_wordpiece(std::move(vocabulary), config.token("unk_token"), "##", 100);
  parts->decoders.push_back(make_wordpiece_decoder("##", true));
  parts->has_decoder = true;
  parts->post_processors.push_back(
      make_bert_processor(required_id(*parts, config.token("cls_token"), path), required_id(*parts, config.token("sep_token"), path)));
  Digest d;
  d.add("vocab.txt");
  d.add(bytes);
  parts->hash = d.value();
  return parts;
}

// The first of tokenizer.model* in order of name, else a sentencepiece model by its other usual names.
std::optional<fs::path> sentencepiece_file(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with("tokenizer.model")) found.push_back(entry.path());
  }
  if (!found.empty()) return *std::min_element(found.begin(), found.end());
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model"}) {
    if (fs::exists(directory / name)) return directory / name;
  }
  return std::nullopt;
}

}  // namespace
}  // namespace lacuna::text

namespace lacuna {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  using namespace text;
  std::error_code error;
  bool is_directory = fs::is_directory(path, error);
  if (!is_directory && !fs::exists(path, error)) throw NotFound(cat(path, ": not there; wanted a directory with a tokenizer in it"));
  const fs::path directory = is_directory ? path : path.parent_path();
  HubConfig config = HubConfig::read(directory);
  std::optional<fs::path> json, model;
  if (is_directory) {
    if (fs::exists(directory / "tokenizer.json")) json = directory / "tokenizer.json";
  } else {
    (path.extension() == ".json" ? json : model) = path;
  }
  std::unique_ptr<Parts> parts;
  if (json) {
    parts = parts_from_json(text::read(*json), json->string());
  } else if (is_directory && fs::exists(directory / "vocab.json") && fs::exists(directory / "merges.txt")) {
    parts = from_vocab_and_merges(directory, config);
  } else if (is_directory && fs::exists(directory / "vocab.txt")) {
    parts = from_bert_vocab(directory, config);
  } else if (model || (model = sentencepiece_file(directory))) {
    parts = parts_from_sentencepiece(text::read(*model), model->string(), config);
  } else {
    throw NotFound(cat(path, ": no tokenizer: looked for tokenizer.json, vocab.json with merges.txt, vocab.txt and tokenizer.model*"));
  }
  config.add_tokens(*parts);
  if (parts->post_processors.empty() && !json) config.add_bos_eos(*parts);
  finish(*parts);
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace lacuna
