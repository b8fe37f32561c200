// Unigram: of all ways to cut the text into tokens, the one whose scores (log probabilities) add up highest, by Viterbi over byte positions.
// A character that no token of its own covers may be cut out as unknown, at the lowest score less ten.
#include <algorithm>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr double kUnknownPenalty = 10.0;

class Unigram final : public Model {
 public:
  Unigram(Vocabulary vocabulary, std::vector<double> scores, const UnigramOptions& options)
      : Model(std::move(vocabulary)), scores_(std::move(scores)), unk_(options.unk), single_precision_(options.single_precision) {
    std::vector<ByteTrie::Entry> entries;
    double lowest = 0;
    for (int32_t id = 0; id < vocabulary_.id_limit(); id++) {
      if (!vocabulary_.has(id) || (!options.searched.empty() && !options.searched[size_t(id)])) continue;
      entries.push_back({vocabulary_.token(id), vocabulary_.find(vocabulary_.token(id))});
      lowest = entries.size() == 1 ? scores_[size_t(id)] : std::min(lowest, scores_[size_t(id)]);
    }
    trie_ = ByteTrie(std::move(entries));
    unknown_score_ = lowest - kUnknownPenalty;
    if (options.byte_fallback) byte_ids_ = byte_token_ids(vocabulary_);
  }

  void tokenize(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const override {
    auto& best = scratch.lattice;
    best.assign(text.size() + 1, {0.0, 0, 0});
    auto offer = [&](size_t end, double score, int32_t id, size_t length) {
      if (single_precision_) score = float(score);
      Scratch::Node& node = best[end];
      if (node.length == 0 || score > node.score) node = {score, id, uint32_t(length)};
    };
    for (size_t begin = 0; begin < text.size();) {
      size_t char_length = char_at(text, begin).length;
      double here = best[begin].score;
      bool covered = false;
      int32_t node = ByteTrie::kRoot;
      for (size_t i = begin; i < text.size(); i++) {
        node = trie_.child(node, uint8_t(text[i]));
        if (node == ByteTrie::kNone) break;
        int32_t id = trie_.value(node);
        if (id < 0) continue;
        size_t length = i + 1 - begin;
        offer(i + 1, here + scores_[size_t(id)], id, length);
        covered |= length == char_length;
      }
      if (!covered) {
        if (!unk_) throw InvalidData(cat("Unigram: '", text.substr(begin, char_length), "' is unknown and the model has no unk_id"));
        offer(begin + char_length, here + unknown_score_, *unk_, char_length);
      }
      begin += char_length;
    }
    trace_back(text, best, ids);
  }

 private:
  // Walks the best path from the end; neighbouring unknown characters become one.
  void trace_back(std::string_view text, const std::vector<Scratch::Node>& best, std::vector<int32_t>& ids) const {
    size_t first = ids.size();
    for (size_t end = text.size(); end > 0;) {
      size_t begin = end - best[end].length;
      if (!unk_ || best[end].id != *unk_) {
        ids.push_back(best[end].id);
      } else {
        while (begin > 0 && best[begin].id == *unk_) begin -= best[begin].length;
        add_unknown(text.substr(begin, end - begin), ids);
      }
      end = begin;
    }
    std::reverse(ids.begin() + ptrdiff_t(first), ids.end());
  }

  // The last id first, as all of the path.
  void add_unknown(std::string_view text, std::vector<int32_t>& ids) const {
    if (int32_t id = vocabulary_.find(text); id >= 0) return ids.push_back(id);
    auto has_token = [&](char c) { return byte_ids_[uint8_t(c)] >= 0; };
    if (byte_ids_.empty() || !std::all_of(text.begin(), text.end(), has_token)) return ids.push_back(*unk_);
    for (size_t i = text.size(); i > 0; i--) ids.push_back(byte_ids_[uint8_t(text[i - 1])]);
  }

  ByteTrie trie_;
  std::vector<double> scores_;  // by id
  std::optional<int32_t> unk_;
  double unknown_score_;
  bool single_precision_;
  std::vector<int32_t> byte_ids_;  // empty without byte fallback
};

}  // namespace

std::unique_ptr<Model> make_unigram(Vocabulary vocabulary, std::vector<double> scores, UnigramOptions options) {
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), options);
}

}  // namespace lacuna::text
