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

void add_special(Parts& parts, const HubConfig& config, std::initializer_list<std::pair<const char*, const char*>> defaults) {
  for (auto [key, otherwise] : defaults) {
    if (auto token = config.token(key, otherwise)) parts.added.add(*token, parts.model->vocabulary());
  }
}

// Byte-level BPE as GPT-2 introduced it.
std::unique_ptr<Parts> from_vocab_and_merges(const fs::path& directory, const HubConfig& config) {
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
    add_special(*parts, config,
                {{"bos_token", "<s>"},
                 {"eos_token", "</s>"},
                 {"unk_token", "<unk>"},
                 {"sep_token", "</s>"},
                 {"pad_token", "<pad>"},
                 {"cls_token", "<s>"},
                 {"mask_token", "<mask>"}});
    parts->post_processors.push_back(make_roberta_processor(required_id(*parts, config.token_name("cls_token", "<s>"), vocab_path),
                                                            required_id(*parts, config.token_name("sep_token", "</s>"), vocab_path)));
    parts->has_post_processor = true;
  } else {
    const char* bos = kind == Kind::kGpt2 ? "<|endoftext|>" : nullptr;
    const char* pad = kind == Kind::kQwen2 ? "<|endoftext|>" : nullptr;
    add_special(*parts, config, {{"bos_token", bos}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}, {"pad_token", pad}});
  }
  Digest d;
  d.add("vocab.json");
  d.add(vocab_bytes);
  d.add(merges_bytes);
  parts->hash = d.value();
  return parts;
}

std::unique_ptr<Parts> from_bert_vocab(const fs::path& directory, const HubConfig& config) {
  if (!config.is_one_of({"", "bert", "distilbert", "electra", "mobilebert", "convbert", "squeezebert", "layoutlm", "lxmert", "pretrained"})) {
    throw Unsupported(cat(directory, ": vocab.txt of tokenizer '", config.family(),
                          "'; known: Bert, DistilBert, Electra, MobileBert, ConvBert, SqueezeBert, LayoutLM, Lxmert"));
  }
  fs::path path = directory / "vocab.txt";
  std::string bytes = read(path);
  std::vector<std::string> lines = lines_of(bytes);
  Vocabulary vocabulary(lines.size());
  for (size_t i = 0; i < lines.size(); i++) vocabulary.add(lines[i], int64_t(i));
  auto parts = std::make_unique<Parts>();
  bool lower = config.boolean("do_lower_case", true);
  parts->normalizers.push_back(
      make_bert_normalizer(true, config.boolean("tokenize_chinese_chars", true), config.boolean("strip_accents", lower), lower));
  parts->pre_tokenizers.push_back(make_bert_pre_tokenizer());
  parts->model = make_wordpiece(std::move(vocabulary), config.token_name("unk_token", "[UNK]"), "##", 100);
  parts->decoders.push_back(make_wordpiece_decoder("##", true));
  parts->has_decoder = true;
  add_special(*parts, config,
              {{"unk_token", "[UNK]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"}});
  parts->post_processors.push_back(make_bert_processor(required_id(*parts, config.token_name("cls_token", "[CLS]"), path),
                                                       required_id(*parts, config.token_name("sep_token", "[SEP]"), path)));
  parts->has_post_processor = true;
  Digest d;
  d.add("vocab.txt");
  d.add(bytes);
  parts->hash = d.value();
  return parts;
}

// The first file that is a sentencepiece model: tokenizer.model, then others beginning so, in order of name.
std::optional<fs::path> sentencepiece_file(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with("tokenizer.model") || name == "spiece.model" || name == "sentencepiece.bpe.model") found.push_back(entry.path());
  }
  if (found.empty()) return std::nullopt;
  return *std::min_element(found.begin(), found.end());
}

}  // namespace
}  // namespace lacuna::text

namespace lacuna {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& directory) {
  using namespace text;
  std::error_code error;
  if (!fs::is_directory(directory, error)) throw NotFound(cat(directory, ": no such directory; wanted one with a tokenizer in it"));
  HubConfig config = HubConfig::read(directory);
  auto exists = [&](const char* name) { return fs::exists(directory / name); };
  std::unique_ptr<Parts> parts;
  if (exists("tokenizer.json")) {
    fs::path path = directory / "tokenizer.json";
    parts = parts_from_json(text::read(path), path.string());
  } else if (exists("vocab.json") && exists("merges.txt")) {
    parts = from_vocab_and_merges(directory, config);
  } else if (exists("vocab.txt")) {
    parts = from_bert_vocab(directory, config);
  } else if (auto model = sentencepiece_file(directory)) {
    parts = parts_from_sentencepiece(text::read(*model), model->string(), config);
  } else {
    throw NotFound(cat(directory, ": no tokenizer: looked for tokenizer.json, vocab.json with merges.txt, vocab.txt and tokenizer.model*"));
  }
  config.apply(*parts);
  finish(*parts);
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace lacuna
