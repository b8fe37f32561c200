#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace lacuna::text {

void AddedTokens::add(AddedToken token, const Vocabulary& model) {
  if (token.content.empty()) return;
  if (token.special) special_.emplace(token.content, true);
  auto known = by_content_.find(token.content);
  int32_t model_size = int32_t(model.size());
  if (known != by_content_.end()) {
    token.id = tokens_[known->second].id;
    tokens_[known->second] = std::move(token);
    return;
  }
  token.id = model.find(token.content);
  if (token.id < 0) token.id = highest_ >= model_size || (model_size == 0 && highest_ >= 0) ? highest_ + 1 : model_size;
  highest_ = std::max(highest_, token.id);
  by_content_.emplace(token.content, tokens_.size());
  by_id_[token.id] = tokens_.size();
  tokens_.push_back(std::move(token));
}

void AddedTokens::build() {
  for (bool normalized : {false, true}) {
    std::vector<ByteTrie::Entry> entries;
    Searcher& searcher = searchers_[normalized];
    searcher = {};
    for (size_t i = 0; i < tokens_.size(); i++) {
      const std::string& shown = tokens_[i].shown;
      if (tokens_[i].normalized != normalized || shown.empty()) continue;
      entries.push_back({shown, int32_t(i)});
      searcher.first[uint8_t(shown[0])] = true;
      searcher.any = true;
    }
    searcher.trie = ByteTrie(std::move(entries));
  }
}

bool AddedTokens::Searcher::find(std::string_view text, size_t from, Found& found) const {
  if (!any) return false;
  for (size_t begin = from; begin < text.size(); begin++) {
    if (!first[uint8_t(text[begin])]) continue;
    int32_t node = ByteTrie::kRoot, best = -1;
    size_t best_end = 0;
    for (size_t i = begin; i < text.size(); i++) {
      node = trie.child(node, uint8_t(text[i]));
      if (node == ByteTrie::kNone) break;
      if (trie.value(node) >= 0) {
        best = trie.value(node);
        best_end = i + 1;
      }
    }
    if (best >= 0) {
      found = {begin, best_end, size_t(best)};
      return true;
    }
  }
  return false;
}

bool AddedTokens::fit(std::string_view text, size_t done, Found& found) const {
  const AddedToken& token = tokens_[found.token];
  if (token.single_word) {
    bool word_before = found.begin > 0 && is_a(char_before(text, found.begin).code, kWord);
    bool word_after = found.end < text.size() && is_a(char_at(text, found.end).code, kWord);
    if (word_before || word_after) return false;
  }
  if (token.lstrip) {
    size_t begin = found.begin;
    while (begin > 0) {
      Char c = char_before(text, begin);
      if (!is_a(c.code, kWhitespace)) break;
      begin -= c.length;
    }
    found.begin = std::max(begin, done);
  }
  if (token.rstrip) {
    while (found.end < text.size()) {
      Char c = char_at(text, found.end);
      if (!is_a(c.code, kWhitespace)) break;
      found.end += c.length;
    }
  }
  return true;
}

const AddedToken* AddedTokens::by_id(int32_t id) const {
  auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::by_content(std::string_view content) const {
  auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

bool AddedTokens::is_special(std::string_view content) const { return special_.contains(std::string(content)); }

}  // namespace lacuna::text
