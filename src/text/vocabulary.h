// Tokens by id and ids by token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::text {

// Good for hash tables in memory; not stable across machines of other byte order.
uint64_t hash_bytes(std::string_view bytes);

class Vocabulary {
 public:
  // Room for `count` tokens. Ids must stay below count * 8 + 65536, so that a lying id costs no memory.
  explicit Vocabulary(size_t count = 0);
  // A token seen before takes the new id as well. Throws InvalidData for an id that is negative or far beyond the number of tokens.
  void add(std::string_view token, int64_t id);

  int32_t find(std::string_view token) const;  // -1 if absent
  bool has(int64_t id) const { return id >= 0 && size_t(id) < tokens_.size() && tokens_[size_t(id)].present; }
  std::string_view token(int64_t id) const { return std::string_view(bytes_).substr(tokens_[size_t(id)].begin, tokens_[size_t(id)].size); }
  size_t size() const { return size_; }                         // different tokens
  int32_t id_limit() const { return int32_t(tokens_.size()); }  // one above the highest id

 private:
  struct Token {
    uint32_t begin = 0, size = 0;
    bool present = false;
  };
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    int32_t id = -1;
  };
  Slot& slot_of(std::string_view token);
  void grow();

  std::string bytes_;
  std::vector<Token> tokens_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  size_t size_ = 0, id_bound_;
};

// Strings with values, searched by prefix. Nodes are numbered breadth first, so that the children of a node are neighbours.
class ByteTrie {
 public:
  struct Entry {
    std::string_view key;
    int32_t value;
  };
  ByteTrie() = default;
  // Of equal keys the last one counts; empty keys are dropped.
  explicit ByteTrie(std::vector<Entry> entries);

  static constexpr int32_t kRoot = 0, kNone = -1;
  bool empty() const { return values_.size() <= 1; }
  int32_t child(int32_t node, uint8_t byte) const {
    if (node == kRoot) return root_[byte];
    int32_t begin = first_child_[size_t(node)], end = first_child_[size_t(node) + 1];
    while (end - begin > 16) {
      int32_t middle = (begin + end) / 2;
      (labels_[size_t(middle)] <= byte ? begin : end) = middle;
    }
    for (; begin < end; begin++) {
      if (labels_[size_t(begin)] == byte) return begin;
    }
    return kNone;
  }
  int32_t value(int32_t node) const { return values_[size_t(node)]; }  // kNone for inner nodes
  // Node reached from `node` by `key`, or kNone.
  int32_t walk(int32_t node, std::string_view key) const;

 private:
  std::vector<int32_t> first_child_;
  std::vector<uint8_t> labels_;
  std::vector<int32_t> values_;
  std::vector<int32_t> root_ = std::vector<int32_t>(256, kNone);
};

}  // namespace lacuna::text
