// Words seen before and their ids: real text repeats its words.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace lacuna::text {

// Two-way set associative, a fixed number of short words; a new word displaces the older one of its set.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 40, kMaxIds = 12;

  // The ids of `word`, or an empty span (words have at least one id). Requires word.size() <= kMaxBytes.
  std::span<const int32_t> find(std::string_view word, uint64_t hash) {
    if (entries_.empty()) return {};
    size_t set = hash & (kSets - 1);
    for (size_t way = 0; way < 2; way++) {
      const Entry& e = entries_[2 * set + way];
      if (e.tag == uint32_t(hash >> 32) && e.size == word.size() && std::memcmp(e.bytes, word.data(), word.size()) == 0) {
        newest_[set] = uint8_t(way);
        return {e.ids, e.count};
      }
    }
    return {};
  }
  void insert(std::string_view word, uint64_t hash, std::span<const int32_t> ids) {
    if (ids.size() > kMaxIds || ids.empty()) return;
    if (entries_.empty()) {
      entries_.resize(2 * kSets);
      newest_.resize(kSets);
    }
    size_t set = hash & (kSets - 1);
    newest_[set] ^= 1;
    Entry& e = entries_[2 * set + newest_[set]];
    e.tag = uint32_t(hash >> 32);
    e.size = uint8_t(word.size());
    e.count = uint8_t(ids.size());
    std::memcpy(e.bytes, word.data(), word.size());
    std::memcpy(e.ids, ids.data(), ids.size_bytes());
  }

 private:
  static constexpr size_t kSets = 1 << 14;
  struct Entry {
    uint32_t tag = 0;
    uint8_t size = 0, count = 0;
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];
  };
  std::vector<Entry> entries_;  // allocated with the first word: 3 MiB
  std::vector<uint8_t> newest_;
};

}  // namespace lacuna::text
