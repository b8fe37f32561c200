// Files that lie: an Error in words for each, never a crash.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/rng.h"
#include "lacuna/error.h"
#include "text/tokenizer.h"

namespace lacuna {
namespace {

using nlohmann::json;

json small() {
  return json::parse(R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]}})");
}

std::string message(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

void expect_error(const json& file, const std::string& words) {
  std::string found = message([&] { tokenizer_from_json(file.dump(), "x.json")->encode("ab ba"); });
  EXPECT_NE(found.find(words), std::string::npos) << "found: " << found << "\nwanted: " << words;
}

TEST(HostileJson, ComponentsThatAreNotKnownAreNamed) {
  for (const char* section : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    json file = small();
    file[section] = {{"type", "Rot13"}};
    expect_error(file, std::string("x.json.") + section + ": unknown ");
    expect_error(file, "'Rot13'; known: ");
    file[section] = {{"type", "Sequence"}};
    expect_error(file, "is missing");
  }
  json file = small();
  file["model"]["type"] = "Magic";
  expect_error(file, "x.json.model: unknown model 'Magic'; known: BPE, WordPiece, WordLevel, Unigram");
}

TEST(HostileJson, WrongTypesNameThePlace) {
  struct Case {
    const char* pointer;
    json value;
    const char* words;
  };
  const Case cases[] = {
      {"/model", 5, "x.json.model"},
      {"/model/vocab", {1, 2}, "x.json.model.vocab: found array, wanted an object"},
      {"/model/vocab/a", "one", "wanted an integer"},
      {"/model/vocab/a", -1, "wanted an integer from 0"},
      {"/model/vocab/a", 1e30, "wanted an integer"},
      {"/model/vocab/a", 18446744073709551615u, "wanted an integer from 0"},
      {"/model/vocab/a", 2000000000, "has id 2000000000, wanted 0 to"},
      {"/model/vocab/a", 2, "both have id 2"},
      {"/model/merges", "a b", "wanted a list"},
      {"/model/merges/0", "a", "wanted two tokens"},
      {"/model/merges/0", "a b ab", "wanted two tokens"},
      {"/model/merges/0", {"a"}, "wanted two tokens"},
      {"/model/merges/0", {"a", 3}, "wanted two tokens"},
      {"/model/merges/0", "a c", "needs the token 'c', which the vocabulary lacks"},
      {"/model/merges/0", "b a", "needs the token 'ba', which the vocabulary lacks"},
      {"/model/dropout", 0.5, "random"},
      {"/model/unk_token", 7, "wanted a string"},
      {"/model/unk_token", "nope", "lacks the unknown token 'nope'"},
      {"/added_tokens", {{"content", "x"}}, "wanted a list"},
      {"/added_tokens", json::array({{{"id", 1}}}), "'content' is missing"},
      {"/added_tokens", json::array({{{"id", -1}, {"content", "x"}}}), "wanted an integer from 0"},
      {"/added_tokens", json::array({{{"id", 1}, {"content", "x"}, {"lstrip", "yes"}}}), "wanted true or false"},
      {"/normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "(a"}}}, {"content", ""}}, "regex '(a'"},
      {"/normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "[a"}}}, {"content", ""}}, "'[' without ']'"},
      {"/normalizer", {{"type", "Replace"}, {"pattern", {{"Glob", "*"}}}, {"content", ""}}, "'String' is missing"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}}, "wanted base64"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}, "the trie takes 4294967295 bytes"},
      {"/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Shredded"}}, "unknown split behavior 'Shredded'"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "__"}}, "wanted one character"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "often"}}, "unknown prepend_scheme 'often'"},
      {"/pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}, "wanted an integer from 1"},
      {"/post_processor", {{"type", "BertProcessing"}, {"cls", {"a", -3}}, {"sep", {"b", 2}}}, "wanted an integer from 0"},
      {"/post_processor", {{"type", "BertProcessing"}, {"cls", "a"}, {"sep", {"b", 2}}}, "wanted [token, id]"},
      {"/post_processor",
       {{"type", "TemplateProcessing"},
        {"single", json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}})},
        {"pair", json::array()},
        {"special_tokens", json::object()}},
       "'<s>' is missing"},
      {"/decoder", {{"type", "Strip"}, {"content", ""}, {"start", 1}, {"stop", 0}}, "wanted one character"},
  };
  for (const Case& c : cases) {
    json file = small();
    file[json::json_pointer(c.pointer)] = c.value;
    expect_error(file, c.words);
  }
}

TEST(HostileJson, TextThatIsNotJsonIsRefused) {
  for (const char* text : {"", "{", "[]", "null", "{\"model\": \"\xff\"}", "{\"a\": 1} trailing"}) {
    EXPECT_NE(message([&] { tokenizer_from_json(text, "x.json"); }).find("x.json"), std::string::npos) << text;
  }
}

TEST(HostileJson, DeepNestingIsRefused) {
  std::string deep(100000, '[');
  EXPECT_NE(message([&] { tokenizer_from_json(deep, "x.json"); }).find("nested more than"), std::string::npos);
  json file = small();
  json sequence = {{"type", "NFC"}};
  for (int i = 0; i < 40; i++) sequence = {{"type", "Sequence"}, {"normalizers", {sequence}}};
  file["normalizer"] = sequence;
  expect_error(file, "nested more than");
}

TEST(HostileJson, TextThatGrowsWithoutBoundIsRefused) {
  json file = small();
  json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaaaaaaaaaaaaaa"}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  for (int i = 0; i < 40; i++) file["normalizer"]["normalizers"].push_back(doubling);
  expect_error(file, "grow");

  file = small();
  file["decoder"] = {{"type", "Sequence"}, {"decoders", json::array()}};
  for (int i = 0; i < 40; i++) file["decoder"]["decoders"].push_back(doubling);
  EXPECT_NE(message([&] { tokenizer_from_json(file.dump(), "x.json")->decode(std::vector<int32_t>{1, 2, 3}); }).find("grow"), std::string::npos);

  file = small();
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
  for (int i = 0; i < 30; i++) {
    file["pre_tokenizer"]["pretokenizers"].push_back({{"type", "FixedLength"}, {"length", 1}});
    file["pre_tokenizer"]["pretokenizers"].push_back({{"type", "ByteLevel"}, {"add_prefix_space", true}});
  }
  expect_error(file, "grow");
}

TEST(HostileJson, ARegexThatBacktracksForeverIsStopped) {
  json file = small();
  file["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a|aa|b?a)+$(?<=c)"}}}, {"behavior", "Isolated"}, {"invert", false}};
  auto tokenizer = tokenizer_from_json(file.dump(), "x.json");
  EXPECT_NE(message([&] { tokenizer->encode(std::string(5000, 'a') + "x"); }).find("regex '"), std::string::npos);
}

TEST(HostileJson, ByteFlipsNeverCrash) {
  std::string original = small().dump();
  Rng rng(1);
  for (int round = 0; round < 3000; round++) {
    std::string bent = original;
    for (int64_t flips = 1 + rng.below(3); flips > 0; flips--) bent[size_t(rng.below(int64_t(bent.size())))] = char(rng.below(256));
    message([&] { tokenizer_from_json(bent, "x.json")->encode("ab ba \xff"); });
  }
}

TEST(HostileFiles, SentencepieceModelsCutOrBentNeverCrash) {
  std::string original = read_text_file(LACUNA_SOURCE_DIR "/tests/fixtures/tokenizers/sentencepiece/unigram.model");
  std::filesystem::path directory = std::filesystem::temp_directory_path() / "lacuna_hostile_sentencepiece";
  std::filesystem::create_directories(directory);
  auto load = [&](const std::string& bytes) {
    std::ofstream(directory / "tokenizer.model", std::ios::binary) << bytes;
    return message([&] { load_tokenizer(directory)->encode("Hello \xef\xbc\xa1 world"); });
  };
  EXPECT_EQ(load(original), "no error");
  EXPECT_NE(load(original.substr(0, 1001)).find("not a sentencepiece model"), std::string::npos);
  EXPECT_NE(load("").find("no pieces"), std::string::npos);
  Rng rng(2);
  for (int round = 0; round < 300; round++) {
    std::string bent = original;
    for (int64_t flips = 1 + rng.below(8); flips > 0; flips--) bent[size_t(rng.below(int64_t(bent.size())))] = char(rng.below(256));
    load(bent);
  }
  std::filesystem::remove_all(directory);
}

TEST(HostileFiles, VocabulariesAndMergesThatDoNotFitAreRefused) {
  std::filesystem::path directory = std::filesystem::temp_directory_path() / "lacuna_hostile_vocabulary";
  std::filesystem::create_directories(directory);
  auto write = [&](const char* name, const std::string& bytes) { std::ofstream(directory / name, std::ios::binary) << bytes; };
  auto load = [&] { return message([&] { load_tokenizer(directory); }); };
  write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  write("merges.txt", "#version: 0.2\na b\n");
  EXPECT_EQ(load(), "no error");
  write("merges.txt", "#version: 0.2\na b\nab c\n");
  EXPECT_NE(load().find("merges.txt: line 3: merge 1 ('ab' 'c') needs the token 'c'"), std::string::npos) << load();
  write("merges.txt", "ab\n");
  EXPECT_NE(load().find("line 1: found 'ab', wanted two tokens"), std::string::npos) << load();
  write("vocab.json", R"(["a", "b"])");
  EXPECT_NE(load().find("wanted an object"), std::string::npos) << load();
  write("vocab.json", R"({"a": 0.5})");
  EXPECT_NE(load().find("wanted an integer"), std::string::npos) << load();
  write("tokenizer_config.json", R"({"tokenizer_class": "MartianTokenizer"})");
  EXPECT_NE(load().find("tokenizer 'martian'; known: GPT2"), std::string::npos) << load();
  write("tokenizer_config.json", "[]");
  EXPECT_NE(load().find("tokenizer_config.json: found a JSON array, wanted an object"), std::string::npos) << load();
  std::filesystem::remove_all(directory);
}

TEST(HostileGguf, MetadataThatDoesNotFitIsRefused) {
  GgufVocabulary good{.model = "gpt2", .pre = "gpt-2", .tokens = {"a", "b", "ab"}, .merges = {"a b"}};
  auto load = [](const GgufVocabulary& v) { return message([&] { tokenizer_from_gguf(v)->encode("ab"); }); };
  EXPECT_EQ(load(good), "no error");
  auto bent = [&](auto change) {
    GgufVocabulary v = good;
    change(v);
    return load(v);
  };
  EXPECT_NE(bent([](auto& v) { v.model = "rwkv"; }).find("unknown tokenizer 'rwkv'; known: gpt2, llama, bert"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.pre = "martian"; }).find("unknown pre-tokenizer 'martian'; known: gpt-2"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.tokens.clear(); }).find("tokens: found none"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.scores = {1}; }).find("scores: found 1 entries, wanted one for each of the 3"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.types = {1, 1}; }).find("token_type: found 2"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.bos = 3; }).find("bos_token_id: found 3"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.merges = {"ab"}; }).find("merges: entry 0: found 'ab'"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.merges = {"a c"}; }).find("needs the token 'c'"), std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.model = "llama"; }).find("scores: missing"), std::string::npos);
  EXPECT_NE(bent([](auto& v) {
              v.model = "llama";
              v.scores = {0, NAN, 0};
            }).find("wanted a finite number"),
            std::string::npos);
  EXPECT_NE(bent([](auto& v) { v.model = "bert"; }).find("'[CLS]' is missing"), std::string::npos);
}

}  // namespace
}  // namespace lacuna
