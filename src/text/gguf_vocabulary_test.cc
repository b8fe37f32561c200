// GGUF vocabularies made of the fixtures' tokenizers must give the fixtures' ids.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

namespace lacuna {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr char kFixtures[] = LACUNA_SOURCE_DIR "/tests/fixtures/tokenizers/";

GgufVocabulary from_model(const text::SentencePieceModel& model) {
  return {.model = "llama",
          .tokens = model.pieces,
          .scores = model.scores,
          .types = model.types,
          .bos = model.bos,
          .eos = model.eos,
          .unk = model.unk,
          .add_bos = true};
}

TEST(Gguf, SentencepieceScoresGiveTheIdsOfSentencepiece) {
  std::string base = cat(kFixtures, "sentencepiece/bpe");
  GgufVocabulary v = from_model(text::read_sentencepiece(read_text_file(base + ".model"), "bpe.model"));
  auto tokenizer = tokenizer_from_gguf(v);
  v.add_space_prefix = false;
  auto bare = tokenizer_from_gguf(v);
  for (const json& example : json::parse(read_text_file(base + ".json"))) {
    std::string text = example[0];
    Ids ids = example[1];
    EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
    if (text.find("\xe2\x96\x81") == std::string::npos) {  // decodes to a space
      EXPECT_EQ(tokenizer->decode(ids), text);
      EXPECT_EQ(bare->decode(bare->encode(text)), text);
    }
    ids.insert(ids.begin(), v.bos);
    EXPECT_EQ(tokenizer->encode(text), ids) << text;
  }
}

TEST(Gguf, TokenTypesDecideWhatIsSpecial) {
  GgufVocabulary v{
      .model = "gpt2", .tokens = {"<s>", "a", "b", "ab", "<tool>", "Ġ"}, .types = {3, 1, 1, 1, 4, 1}, .merges = {"a b"}, .bos = 0, .add_bos = true};
  auto tokenizer = tokenizer_from_gguf(v);
  EXPECT_EQ(tokenizer->encode("ab<tool>a<s> b"), (Ids{0, 3, 4, 1, 0, 5, 2}));
  EXPECT_EQ(tokenizer->encode("ab", false), (Ids{3}));
  EXPECT_EQ(tokenizer->decode(Ids{0, 3, 4, 1}), "ab<tool>a");
  EXPECT_EQ(tokenizer->decode(Ids{0, 3, 4, 1}, false), "<s>ab<tool>a");
}

TEST(Gguf, PreTokenizersCutDigitsAsTheirModelsDo) {
  GgufVocabulary v{.model = "gpt2", .pre = "gpt-2", .tokens = {"1", "2", "12", "3", "123", "4", "1234"}, .merges = {"1 2", "12 3", "123 4"}};
  EXPECT_EQ(tokenizer_from_gguf(v)->encode("1234"), (Ids{6}));
  v.pre = "smollm";
  EXPECT_EQ(tokenizer_from_gguf(v)->encode("1234"), (Ids{0, 1, 3, 5}));
  v.pre = "llama-bpe";
  EXPECT_EQ(tokenizer_from_gguf(v)->encode("1234"), (Ids{4, 5}));
  v.pre = "qwen2";
  EXPECT_EQ(tokenizer_from_gguf(v)->encode("1234"), (Ids{0, 1, 3, 5}));
}

TEST(Gguf, BertWordsCarryTheMarkOfASpace) {
  json group = json::parse(read_text_file(cat(kFixtures, "wordpiece.json")));
  const json& variant = group["variants"][0];
  json file = group["base"];
  for (const auto& [key, value] : variant["patch"].items()) file[key] = value;
  auto expected = tokenizer_from_json(file.dump(), "wordpiece.json");
  GgufVocabulary v{.model = "bert"};
  v.tokens.resize(file["model"]["vocab"].size());
  for (const auto& [token, id] : file["model"]["vocab"].items()) {
    std::string& slot = v.tokens[id.get<size_t>()];
    slot = token.starts_with("##")                                              ? token.substr(2)
           : token.size() > 2 && token.starts_with('[') && token.ends_with(']') ? token
                                                                                : "\xe2\x96\x81" + token;
  }
  auto tokenizer = tokenizer_from_gguf(v);
  for (const char* text :
       {"Hello, world!", "the unaffable players PLAYED", "na\xc3\xafve caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd", "[MASK] [CLS]", ""}) {
    EXPECT_EQ(tokenizer->encode(text), expected->encode(text)) << text;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), expected->decode(expected->encode(text))) << text;
  }
}

}  // namespace
}  // namespace lacuna
