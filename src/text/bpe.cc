// Byte-pair encoding: a word begins as its characters; the pair of neighbours with the lowest rank is merged (the leftmost of equals)
// until no pair has a rank. Short words scan all pairs for the lowest rank; long ones keep the candidates in a heap.
#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr uint32_t kNoRank = UINT32_MAX;
constexpr size_t kScanLimit = 48;  // symbols up to which scanning beats the heap

// (left, right) -> (rank, merged), open addressing.
class MergeTable {
 public:
  struct Result {
    uint32_t rank = kNoRank;
    int32_t merged = -1;
  };
  explicit MergeTable(const std::vector<Merge>& merges) : slots_(std::bit_ceil(merges.size() * 2 + 2)) {
    for (const Merge& m : merges) {
      Slot& slot = slots_[position(key(m.left, m.right))];
      slot.key = key(m.left, m.right);
      slot.result = {m.rank, m.merged};
    }
  }
  Result find(int32_t left, int32_t right) const { return slots_[position(key(left, right))].result; }

 private:
  struct Slot {
    uint64_t key = UINT64_MAX;
    Result result;
  };
  static uint64_t key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }
  // The slot that holds `key`, or the empty one where it would go.
  size_t position(uint64_t key) const {
    size_t mask = slots_.size() - 1;
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    size_t i = (h ^ h >> 32) & mask;
    while (slots_[i].key != key && slots_[i].key != UINT64_MAX) i = (i + 1) & mask;
    return i;
  }
  std::vector<Slot> slots_;
};

class Bpe final : public Model {
 public:
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options)
      : Model(std::move(vocabulary)), merges_(merges), options_(std::move(options)) {
    affixes_ = !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
    if (options_.unk_token) unk_ = vocabulary_.find(*options_.unk_token);
    if (options_.byte_fallback) byte_ids_ = byte_token_ids(vocabulary_);
    std::string text;
    for (char32_t c = 0; c < char_ids_.size(); c++) {
      text.clear();
      append_utf8(text, c);
      char_ids_[c] = vocabulary_.find(text);
    }
    for (std::string_view space : {std::string_view("\xe2\x96\x81"), std::string_view(" ")}) {
      if (!affixes_ && starts_words(space, merges)) word_start_ = space;
    }
  }

  int32_t whole(std::string_view text) const override { return options_.ignore_merges ? vocabulary_.find(text) : -1; }

  size_t independent_end(std::string_view text, size_t begin) const override {
    if (word_start_.empty()) return text.size();
    for (size_t from = begin + 1;;) {
      size_t found = text.find(word_start_, from);
      if (found == std::string_view::npos) return text.size();
      bool after_another = found >= begin + word_start_.size() && text.substr(found - word_start_.size(), word_start_.size()) == word_start_;
      if (!after_another) return found;
      from = found + word_start_.size();
    }
  }

  void tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const override {
    auto& symbols = scratch.symbols;
    symbols.clear();
    if (affixes_) {
      split_with_affixes(word, symbols);
    } else {
      split(word, symbols);
    }
    if (symbols.size() <= kScanLimit) {
      merge_scanning(symbols);
      for (const auto& s : symbols) ids.push_back(s.id);
    } else {
      merge_by_heap(symbols, scratch.candidates);
      for (int32_t i = 0; i >= 0; i = symbols[size_t(i)].next) ids.push_back(symbols[size_t(i)].id);
    }
  }

 private:
  using Symbols = std::vector<Scratch::Symbol>;

  // Whether a new word may be started before each run of `space`, which no merge then crosses.
  bool starts_words(std::string_view space, const std::vector<Merge>& merges) const {
    if (vocabulary_.find(space) < 0) return false;
    return std::none_of(merges.begin(), merges.end(),
                        [&](const Merge& m) { return vocabulary_.token(m.right).starts_with(space) && !vocabulary_.token(m.left).ends_with(space); });
  }

  // Unknown characters: byte tokens if all are there, else the unknown token, held back until a known character comes
  // (so that neighbours can fuse; byte tokens do not release it, which is how the `tokenizers` library has it).
  struct Pending {
    bool any = false;
  };
  void add_known(int32_t id, Pending& pending, Symbols& symbols) const {
    release(pending, symbols);
    symbols.push_back({.id = id});
  }
  void release(Pending& pending, Symbols& symbols) const {
    if (pending.any) symbols.push_back({.id = unk_});
    pending.any = false;
  }
  void add_unknown(std::string_view text, Pending& pending, Symbols& symbols) const {
    if (options_.byte_fallback && std::all_of(text.begin(), text.end(), [&](char c) { return byte_ids_[uint8_t(c)] >= 0; })) {
      for (char c : text) symbols.push_back({.id = byte_ids_[uint8_t(c)]});
      return;
    }
    if (!options_.unk_token) return;
    if (unk_ < 0) throw InvalidData(cat("BPE: '", text, "' is unknown and the vocabulary lacks the unknown token '", *options_.unk_token, "'"));
    if (!options_.fuse_unk) release(pending, symbols);
    pending.any = true;
  }

  void split(std::string_view word, Symbols& symbols) const {
    Pending pending;
    for (size_t i = 0; i < word.size();) {
      Char c = char_at(word, i);
      auto text = word.substr(i, c.length);
      int32_t id = c.code < char_ids_.size() ? char_ids_[c.code] : vocabulary_.find(text);
      if (id >= 0) {
        add_known(id, pending, symbols);
      } else {
        add_unknown(text, pending, symbols);
      }
      i += c.length;
    }
    release(pending, symbols);
  }

  void split_with_affixes(std::string_view word, Symbols& symbols) const {
    Pending pending;
    std::string text;
    for (size_t i = 0; i < word.size();) {
      size_t length = char_at(word, i).length;
      text.clear();
      if (i > 0) text += options_.continuing_subword_prefix;
      text += word.substr(i, length);
      if (i + length == word.size()) text += options_.end_of_word_suffix;
      int32_t id = vocabulary_.find(text);
      if (id >= 0) {
        add_known(id, pending, symbols);
      } else {
        add_unknown(text, pending, symbols);
      }
      i += length;
    }
    release(pending, symbols);
  }

  void rate(Scratch::Symbol& symbol, int32_t right) const {
    auto result = merges_.find(symbol.id, right);
    symbol.rank = result.rank;
    symbol.merged = result.merged;
  }

  void merge_scanning(Symbols& symbols) const {
    if (symbols.empty()) return;
    for (size_t i = 0; i + 1 < symbols.size(); i++) rate(symbols[i], symbols[i + 1].id);
    symbols.back().rank = kNoRank;
    for (;;) {
      size_t best = 0;
      for (size_t i = 1; i < symbols.size(); i++) {
        if (symbols[i].rank < symbols[best].rank) best = i;
      }
      if (symbols[best].rank == kNoRank) return;
      symbols[best].id = symbols[best].merged;
      symbols[best].rank = kNoRank;
      symbols.erase(symbols.begin() + ptrdiff_t(best) + 1);
      if (best + 1 < symbols.size()) rate(symbols[best], symbols[best + 1].id);
      if (best > 0) rate(symbols[best - 1], symbols[best].id);
    }
  }

  void merge_by_heap(Symbols& symbols, std::vector<uint64_t>& heap) const {
    heap.clear();
    int32_t count = int32_t(symbols.size());
    auto push = [&](int32_t i) {
      Scratch::Symbol& s = symbols[size_t(i)];
      s.rank = kNoRank;
      if (s.next < 0) return;
      rate(s, symbols[size_t(s.next)].id);
      if (s.rank != kNoRank) heap.push_back(uint64_t(s.rank) << 32 | uint32_t(i));
    };
    for (int32_t i = 0; i < count; i++) {
      symbols[size_t(i)].previous = i - 1;
      symbols[size_t(i)].next = i + 1 < count ? i + 1 : -1;
    }
    for (int32_t i = 0; i < count; i++) push(i);
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      uint64_t top = heap.back();
      heap.pop_back();
      int32_t at = int32_t(uint32_t(top));
      Scratch::Symbol& s = symbols[size_t(at)];
      if (s.rank != uint32_t(top >> 32)) continue;  // the pair is no longer what it was
      int32_t gone = s.next;
      s.id = s.merged;
      s.next = symbols[size_t(gone)].next;
      symbols[size_t(gone)].rank = kNoRank;
      if (s.next >= 0) symbols[size_t(s.next)].previous = at;
      for (int32_t i : {at, s.previous}) {
        if (i < 0) continue;
        size_t size = heap.size();
        push(i);
        if (heap.size() > size) std::push_heap(heap.begin(), heap.end(), std::greater<>());
      }
    }
  }

  MergeTable merges_;
  BpeOptions options_;
  bool affixes_;
  int32_t unk_ = -1;
  std::vector<int32_t> byte_ids_;
  std::array<int32_t, 0x800> char_ids_;  // of characters of one or two bytes
  std::string_view word_start_;          // see independent_end
};

}  // namespace

std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids;
  constexpr char digits[] = "0123456789ABCDEF";
  for (int b = 0; b < 256; b++) ids.push_back(vocabulary.find(cat("<0x", digits[b >> 4], digits[b & 15], '>')));
  return ids;
}

Merge named_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right, size_t rank, std::string_view subword_prefix) {
  auto find = [&](std::string_view token) {
    int32_t id = vocabulary.find(token);
    if (id < 0) throw InvalidData(cat("merge ", rank, " ('", left, "' '", right, "') needs the token '", token, "', which the vocabulary lacks"));
    return id;
  };
  Merge merge{.left = find(left), .right = find(right), .merged = -1, .rank = uint32_t(rank)};
  if (right.size() < subword_prefix.size()) {
    throw InvalidData(cat("merge ", rank, " ('", left, "' '", right, "'): the right part is shorter than the prefix '", subword_prefix, "'"));
  }
  merge.merged = find(cat(left, right.substr(subword_prefix.size())));
  return merge;
}

std::unique_ptr<Model> make_bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options) {
  return std::make_unique<Bpe>(std::move(vocabulary), merges, std::move(options));
}

}  // namespace lacuna::text
