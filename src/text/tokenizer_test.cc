#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/parallel.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

// One byte-level BPE over the letters of "hello", written as tokenizer.json.
constexpr char kSmall[] = R"({
  "added_tokens": [{"id": 9, "content": "<s>", "special": true}],
  "normalizer": {"type": "Lowercase"},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"h": 0, "e": 1, "l": 2, "o": 3, "Ġ": 4, "he": 5, "ll": 6, "hell": 7, "hello": 8},
            "merges": ["h e", "l l", "he ll", "hell o"]}
})";

TEST(Tokenizer, MergesByRankAndAddsTheTemplatesTokens) {
  auto t = tokenizer_from_json(kSmall, "small");
  EXPECT_EQ(t->encode("Hello hell"), (Ids{9, 8, 4, 7}));
  EXPECT_EQ(t->encode("Hello hell", false), (Ids{8, 4, 7}));
  EXPECT_EQ(t->encode("he<s>lo"), (Ids{9, 5, 9, 2, 3}));
  EXPECT_EQ(t->decode(Ids{9, 8, 4, 7}), "hello hell");
  EXPECT_EQ(t->decode(Ids{9, 8, 4, 7}, false), "<s>hello hell");
  EXPECT_EQ(t->vocab_size(), 10);
  EXPECT_EQ(t->token_to_id("hell"), 7);
  EXPECT_EQ(t->token_to_id("nope"), std::nullopt);
  EXPECT_EQ(t->id_to_token(9), "<s>");
  EXPECT_EQ(t->id_to_token(10), std::nullopt);
  auto pair = t->encode_pair("he", "ll");
  EXPECT_EQ(pair.ids, (Ids{5, 6}));
  EXPECT_EQ(pair.type_ids, (Ids{0, 1}));
}

TEST(Tokenizer, EncodesOnSeveralThreadsAtOnce) {
  auto t = tokenizer_from_json(kSmall, "small");
  std::vector<Ids> ids(64);
  parallel_for(int64_t(ids.size()), [&](int64_t i) {
    for (int round = 0; round < 20; round++) ids[size_t(i)] = t->encode("hello hell he<s>lo");
  });
  for (const Ids& each : ids) EXPECT_EQ(each, (Ids{9, 8, 4, 7, 4, 5, 9, 2, 3}));
}

TEST(Tokenizer, HashNamesWhatDeterminesTheIds) {
  std::string json = kSmall, other = kSmall;
  other.replace(other.find("Lowercase"), 9, "NFC");
  std::string decoder = kSmall;
  const std::string stated = R"("decoder": {"type": "ByteLevel"})";
  decoder.replace(decoder.find(stated), stated.size(), R"("decoder": {"type": "Fuse"})");
  std::string hash = tokenizer_from_json(json, "a")->hash();
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(tokenizer_from_json(json + "\n", "b")->hash(), hash);
  EXPECT_EQ(tokenizer_from_json(decoder, "c")->hash(), hash);
  EXPECT_NE(tokenizer_from_json(other, "d")->hash(), hash);
}

TEST(Tokenizer, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  auto t = tokenizer_from_json(kSmall, "small");
  EXPECT_EQ(t->encode("he\xff\xe2\x82llo"), t->encode("he\xef\xbf\xbd\xef\xbf\xbdllo"));
}

const fs::path kData = LACUNA_SOURCE_DIR "/../shared/data";

// Expected ids: tokenizers 0.23.
TEST(LoadTokenizer, ReadsALlamaTokenizerJson) {
  if (!fs::exists(kData / "stories260k"))
    GTEST_SKIP() << kData / "stories260k"
                 << " is not there";
  auto t = load_tokenizer(kData / "stories260k");
  EXPECT_EQ(t->encode("Once upon a time"), (Ids{1, 403, 407, 261, 378}));
  EXPECT_EQ(t->decode(t->encode("Once upon a time")), "Once upon a time");
}

TEST(LoadTokenizer, ReadsGpt2VocabularyAndMerges) {
  if (!fs::exists(kData / "tokenizers/gpt2"))
    GTEST_SKIP() << kData / "tokenizers/gpt2"
                 << " is not there";
  auto t = load_tokenizer(kData / "tokenizers/gpt2");
  EXPECT_EQ(t->encode("Hello, world!<|endoftext|>"), (Ids{15496, 11, 995, 0, 50256}));
  EXPECT_EQ(t->vocab_size(), 50257);
}

TEST(LoadTokenizer, ReadsABertVocabulary) {
  if (!fs::exists(kData / "tokenizers/bert_base_uncased"))
    GTEST_SKIP() << kData / "tokenizers/bert_base_uncased"
                 << " is not there";
  auto t = load_tokenizer(kData / "tokenizers/bert_base_uncased");
  EXPECT_EQ(t->encode("Héllo, unaffable world!"), (Ids{101, 7592, 1010, 14477, 20961, 3468, 2088, 999, 102}));
  auto pair = t->encode_pair("hello", "world");
  EXPECT_EQ(pair.ids, (Ids{101, 7592, 102, 2088, 102}));
  EXPECT_EQ(pair.type_ids, (Ids{0, 0, 0, 1, 1}));
}

// A directory of its own with these files.
fs::path directory_with(const std::string& name, const std::vector<std::pair<const char*, std::string>>& files) {
  fs::path directory = fs::temp_directory_path() / ("lacuna_tokenizer_" + name);
  fs::remove_all(directory);
  fs::create_directories(directory);
  for (const auto& [file, text] : files) std::ofstream(directory / file, std::ios::binary) << text;
  return directory;
}

// Expected: transformers 5.23.
TEST(LoadTokenizer, PutsAroundATextWhatTheConfigurationAsksForUnlessATokenizerJsonSettlesIt) {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})", merges = "#version: 0.2\na b\n";
  auto gpt2 = load_tokenizer(directory_with("plain", {{"vocab.json", vocab}, {"merges.txt", merges}}));
  EXPECT_EQ(gpt2->encode("ab<|endoftext|>"), (Ids{2, 3}));
  auto bos = load_tokenizer(directory_with(
      "bos",
      {{"vocab.json", vocab}, {"merges.txt", merges}, {"tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true})"}}));
  EXPECT_EQ(bos->encode("ab"), (Ids{3, 2}));
  EXPECT_EQ(bos->encode("ab", false), (Ids{2}));
  auto json = load_tokenizer(directory_with("settled", {{"tokenizer.json", kSmall}, {"tokenizer_config.json", R"({"add_bos_token": false})"}}));
  EXPECT_EQ(json->encode("hello"), (Ids{9, 8}));
}

TEST(LoadTokenizer, AddsTheSpecialTokensThatOnlyTheConfigurationNames) {
  auto t = load_tokenizer(
      directory_with("extra", {{"tokenizer.json", kSmall},
                               {"tokenizer_config.json",
                                R"({"bos_token": "<s>", "pad_token": {"content": "<pad>", "lstrip": true}, "additional_special_tokens": ["<tool>"],
                     "added_tokens_decoder": {"10": {"content": "[X]", "special": false, "normalized": false}}})"}}));
  EXPECT_EQ(t->token_to_id("[X]"), 10);
  EXPECT_EQ(t->token_to_id("<pad>"), 11);
  EXPECT_EQ(t->token_to_id("<tool>"), 12);
  EXPECT_EQ(t->encode("he <pad>[X]<tool>"), (Ids{9, 5, 11, 10, 12}));
  EXPECT_EQ(t->decode(t->encode("he <pad>[X]<tool>")), "he[X]");
}

TEST(LoadTokenizer, NamesWhatItLookedFor) {
  fs::path empty = fs::temp_directory_path() / "lacuna_no_tokenizer";
  fs::create_directories(empty);
  try {
    load_tokenizer(empty);
    FAIL() << "no error";
  } catch (const NotFound& e) {
    EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace lacuna
