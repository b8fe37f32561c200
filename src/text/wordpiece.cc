// WordPiece: the longest token that the rest of the word begins with, again and again. WordLevel: the word itself.
#include "base/cat.h"
#include "lacuna/error.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

int32_t unknown_id(const Vocabulary& vocabulary, std::string_view unk_token, std::string_view word) {
  int32_t id = vocabulary.find(unk_token);
  if (id < 0) throw InvalidData(cat("'", word.substr(0, 64), "' is unknown and the vocabulary lacks the unknown token '", unk_token, "'"));
  return id;
}

class WordPiece final : public Model {
 public:
  WordPiece(Vocabulary vocabulary, std::string unk_token, std::string_view prefix, size_t max_chars)
      : Model(std::move(vocabulary)), unk_token_(std::move(unk_token)), max_chars_(max_chars) {
    std::vector<ByteTrie::Entry> entries;
    for (int32_t id = 0; id < vocabulary_.id_limit(); id++) {
      if (vocabulary_.has(id)) entries.push_back({vocabulary_.token(id), vocabulary_.find(vocabulary_.token(id))});
    }
    trie_ = ByteTrie(std::move(entries));
    continuation_ = trie_.walk(ByteTrie::kRoot, prefix);
  }

  void tokenize(std::string_view word, Scratch&, std::vector<int32_t>& ids) const override {
    size_t before = ids.size();
    if (word.size() > max_chars_ && count_chars(word) > max_chars_) return ids.push_back(unknown_id(vocabulary_, unk_token_, word));
    for (size_t begin = 0; begin < word.size();) {
      int32_t node = begin == 0 ? ByteTrie::kRoot : continuation_;
      int32_t best = -1;
      size_t best_end = begin;
      for (size_t i = begin; i < word.size() && node != ByteTrie::kNone;) {
        node = trie_.child(node, uint8_t(word[i++]));
        if (node != ByteTrie::kNone && trie_.value(node) >= 0) {
          best = trie_.value(node);
          best_end = i;
        }
      }
      if (best < 0) {
        ids.resize(before);
        return ids.push_back(unknown_id(vocabulary_, unk_token_, word));
      }
      ids.push_back(best);
      begin = best_end;
    }
  }

 private:
  ByteTrie trie_;
  int32_t continuation_;  // node of the prefix that marks the middle of a word
  std::string unk_token_;
  size_t max_chars_;
};

class WordLevel final : public Model {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token) : Model(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  void tokenize(std::string_view word, Scratch&, std::vector<int32_t>& ids) const override {
    int32_t id = vocabulary_.find(word);
    ids.push_back(id >= 0 ? id : unknown_id(vocabulary_, unk_token_, word));
  }

 private:
  std::string unk_token_;
};

}  // namespace

std::unique_ptr<Model> make_wordpiece(Vocabulary vocabulary, std::string unk_token, std::string prefix, size_t max_chars) {
  return std::make_unique<WordPiece>(std::move(vocabulary), std::move(unk_token), prefix, max_chars);
}

std::unique_ptr<Model> make_word_level(Vocabulary vocabulary, std::string unk_token) {
  return std::make_unique<WordLevel>(std::move(vocabulary), std::move(unk_token));
}

}  // namespace lacuna::text
