#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace lacuna {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> fixture(const char* name, const char* variant_name) {
  json group = json::parse(read_text_file(cat(LACUNA_SOURCE_DIR "/tests/fixtures/tokenizers/", name, ".json")));
  json file = group["base"];
  for (const json& variant : group["variants"]) {
    if (variant["name"] != variant_name) continue;
    for (const auto& [key, value] : variant["patch"].items()) file[key] = value;
  }
  return tokenizer_from_json(file.dump(), name);
}

constexpr const char* kTexts[] = {"Once upon a time there was a little girl.", " two  spaces ",
                                  "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 \xc3\xa9",
                                  "na\xc3\xafve \xd1\x81\xd1\x8a\xd0\xb5\xd1\x88\xd1\x8c\n\nline", ""};

TEST(TokenStream, PiecesJoinToTheDecodedWhole) {
  for (auto [name, variant] :
       {std::pair("pre_tokenizers", "gpt2"), {"bpe", "byte_fallback"}, {"bpe", "metaspace"}, {"wordpiece", "bert"}, {"unigram", "metaspace"}}) {
    auto tokenizer = fixture(name, variant);
    for (const char* text : kTexts) {
      Ids ids = tokenizer->encode(text);
      TokenStream stream(*tokenizer);
      std::string joined;
      for (int32_t id : ids) {
        std::string piece = stream.push(id);
        EXPECT_EQ(text::valid_utf8_prefix(piece), piece.size());
        joined += piece;
      }
      EXPECT_EQ(joined + stream.finish(), tokenizer->decode(ids)) << name << ": " << text;
    }
  }
}

TEST(TokenStream, TextAfterAPromptKeepsItsSpace) {
  auto tokenizer = fixture("bpe", "byte_fallback");
  Ids whole = tokenizer->encode("Once upon a time there was a girl");
  for (size_t cut = 1; cut < whole.size(); cut++) {
    Ids prompt(whole.begin(), whole.begin() + ptrdiff_t(cut));
    TokenStream stream(*tokenizer, prompt);
    std::string printed = tokenizer->decode(prompt);
    for (size_t i = cut; i < whole.size(); i++) printed += stream.push(whole[i]);
    EXPECT_EQ(printed, tokenizer->decode(whole)) << "cut at " << cut;
  }
}

TEST(TokenStream, CharactersAreHeldBackUntilWhole) {
  auto tokenizer = fixture("pre_tokenizers", "gpt2");
  Ids ids = tokenizer->encode("\xf0\x9f\x98\x80");
  ASSERT_GT(ids.size(), 1u);
  TokenStream stream(*tokenizer);
  for (size_t i = 0; i + 1 < ids.size(); i++) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids.back()), "\xf0\x9f\x98\x80");
  EXPECT_EQ(stream.push(ids.front()), "");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace lacuna
