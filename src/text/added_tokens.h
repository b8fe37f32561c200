// Tokens that are recognised in the text before anything else happens to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/vocabulary.h"

namespace lacuna::text {

struct AddedToken {
  std::string content;
  std::string shown;  // what decode gives: the content as the normalizers leave it if `normalized`
  int32_t id = -1;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for in normalized text
  bool special = false;      // left out by decode
};

class AddedTokens {
 public:
  // Takes the token as the `tokenizers` library does: the id is the model's if it knows the content, else the next free one;
  // of two with the same content the later one's flags count; empty ones are dropped.
  void add(AddedToken token, const Vocabulary& model);
  // Builds the search tries. `normalized_content` gives a token's content as the normalizers leave it.
  template <class Normalize>
  void finish(Normalize&& normalized_content) {
    for (AddedToken& token : tokens_) token.shown = token.normalized ? normalized_content(token.content) : token.content;
    build();
  }

  // Calls part(begin, end, id) for added tokens and part(begin, end, -1) for what lies between.
  // `normalized` chooses which kind of tokens is looked for.
  template <class Part>
  void split(std::string_view text, bool normalized, Part&& part) const {
    const Searcher& searcher = searchers_[normalized];
    size_t done = 0, from = 0;
    Found found;
    while (from < text.size() && searcher.find(text, from, found)) {
      from = found.end;
      if (!fit(text, done, found)) continue;
      if (done < found.begin) part(done, found.begin, -1);
      part(found.begin, found.end, tokens_[found.token].id);
      done = found.end;
    }
    if (done < text.size()) part(done, text.size(), -1);
  }

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* by_id(int32_t id) const;
  const AddedToken* by_content(std::string_view content) const;
  bool is_special(std::string_view content) const;

 private:
  struct Found {
    size_t begin, end, token;
  };
  struct Searcher {
    ByteTrie trie;
    bool first[256] = {};
    bool any = false;
    // The leftmost longest token at or after `from`.
    bool find(std::string_view text, size_t from, Found& found) const;
  };
  void build();
  // Applies single_word, lstrip and rstrip; false if the token does not count here. `done` is where the previous token ended.
  bool fit(std::string_view text, size_t done, Found& found) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> by_content_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, bool> special_;
  int32_t highest_ = -1;
  Searcher searchers_[2];
};

}  // namespace lacuna::text
