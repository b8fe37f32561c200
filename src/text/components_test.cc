// Every component against the ids and texts of the `tokenizers` package (tools/fixtures/make_tokenizers.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "text/tokenizer.h"

namespace lacuna {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr char kFixtures[] = LACUNA_SOURCE_DIR "/tests/fixtures/tokenizers/";

json read(const std::string& name) { return json::parse(read_text_file(kFixtures + name)); }

std::vector<std::string> texts() {
  std::vector<std::string> texts;
  const json file = read("texts.json");
  for (const json& hex : file["texts"]) {
    std::string& text = texts.emplace_back();
    const auto& digits = hex.get_ref<const std::string&>();
    for (size_t i = 0; i < digits.size(); i += 2) text += char(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return texts;
}

std::string hash_of(const std::string& first, const std::string& second) {
  uint64_t h = 0xcbf29ce484222325;
  for (char c : first + '\0' + second) h = (h ^ uint8_t(c)) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(h));
  return digits;
}

class Components : public ::testing::TestWithParam<const char*> {};

TEST_P(Components, GiveTheIdsAndTextsOfTheTokenizersPackage) {
  const std::vector<std::string> inputs = texts();
  json group = read(cat(GetParam(), ".json"));
  for (const json& variant : group["variants"]) {
    std::string name = variant["name"];
    json file = group["base"];
    for (const auto& [key, value] : variant["patch"].items()) file[key] = value;
    auto tokenizer = tokenizer_from_json(file.dump(), name);
    for (size_t i = 0; i < variant["ids"].size(); i++) {
      Ids ids = variant["ids"][i], plain = variant["plain"][i].is_null() ? ids : Ids(variant["plain"][i]);
      EXPECT_EQ(tokenizer->encode(inputs[i]), ids) << name << ": text " << i << ": " << inputs[i];
      EXPECT_EQ(tokenizer->encode(inputs[i], false), plain) << name << ": text " << i << ": " << inputs[i];
      std::string decoded = tokenizer->decode(ids), all = tokenizer->decode(ids, false);
      EXPECT_EQ(hash_of(decoded, all), variant["decoded"][i])
          << name << ": text " << i << ": " << inputs[i] << "\ndecoded: " << decoded << "\nall: " << all;
    }
    for (const json& pair : variant["pairs"]) {
      for (bool special : {true, false}) {
        auto encoding = tokenizer->encode_pair(pair[0].get<std::string>(), pair[1].get<std::string>(), special);
        EXPECT_EQ(encoding.ids, Ids(pair[special ? 2 : 4])) << name << ": " << pair[0] << pair[1];
        EXPECT_EQ(encoding.type_ids, Ids(pair[special ? 3 : 5])) << name << ": " << pair[0] << pair[1];
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Components,
                         ::testing::Values("pre_tokenizers", "normalizers", "added_tokens", "post_processors", "bpe", "bpe_suffix", "bpe_prefix",
                                           "wordpiece", "unigram", "word_level"),
                         [](const auto& info) { return std::string(info.param); });

class SentencePiece : public ::testing::TestWithParam<const char*> {};

TEST_P(SentencePiece, ModelsGiveTheIdsOfTheSentencepiecePackage) {
  std::string name = cat(kFixtures, "sentencepiece/", GetParam());
  auto tokenizer = load_tokenizer(name + ".model");
  for (const json& example : json::parse(read_text_file(name + ".json"))) {
    std::string text = example[0];
    EXPECT_EQ(tokenizer->encode(text, false), Ids(example[1])) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, SentencePiece, ::testing::Values("unigram", "unigram_bytes", "unigram_suffix", "bpe", "bpe_rules"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lacuna
