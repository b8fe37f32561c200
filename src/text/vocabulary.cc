#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna::text {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  unsigned __int128 product = (unsigned __int128)(a)*b;
  return uint64_t(product) ^ uint64_t(product >> 64);
}

uint64_t load(const char* p, size_t n) {
  uint64_t v = 0;
  std::memcpy(&v, p, n);
  return v;
}

}  // namespace

// After wyhash (Wang Yi, public domain): sixteen bytes a step, folded by a 64x64 multiplication.
uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t k0 = 0xa0761d6478bd642f, k1 = 0xe7037ed1a0b428db;
  const char* p = bytes.data();
  size_t n = bytes.size();
  uint64_t h = k0 ^ n;
  while (n > 16) {
    h = mix(load(p, 8) ^ k1, load(p + 8, 8) ^ h);
    p += 16;
    n -= 16;
  }
  uint64_t a = n >= 8 ? load(p, 8) : load(p, n);
  uint64_t b = n > 8 ? load(p + 8, n - 8) : 0;
  return mix(k1 ^ bytes.size(), mix(a ^ k1, b ^ h));
}

Vocabulary::Vocabulary(size_t count) : slots_(std::bit_ceil(count * 2 + 16)), id_bound_(count * 8 + 65536) { tokens_.reserve(count); }

Vocabulary::Slot& Vocabulary::slot_of(std::string_view token) {
  uint64_t hash = hash_bytes(token);
  size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    Slot& slot = slots_[i];
    if (slot.id < 0) {
      slot.tag = uint32_t(hash >> 32);
      return slot;
    }
    if (slot.tag == uint32_t(hash >> 32) && this->token(slot.id) == token) return slot;
  }
}

int32_t Vocabulary::find(std::string_view token) const {
  uint64_t hash = hash_bytes(token);
  size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id < 0) return -1;
    if (slot.tag == uint32_t(hash >> 32) && this->token(slot.id) == token) return slot.id;
  }
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id >= 0) slot_of(token(slot.id)).id = slot.id;
  }
}

void Vocabulary::add(std::string_view token, int64_t id) {
  if (id < 0 || uint64_t(id) >= id_bound_) {
    throw InvalidData(cat("token '", token, "' has id ", id, ", wanted 0 to ", id_bound_ - 1, " in a vocabulary of this size"));
  }
  if (bytes_.size() + token.size() > UINT32_MAX) throw InvalidData("the tokens of the vocabulary have more than 4 GiB together");
  if (size_t(id) >= tokens_.size()) tokens_.resize(size_t(id) + 1);
  if (2 * (size_ + 1) > slots_.size()) grow();
  Slot& slot = slot_of(token);
  if (slot.id < 0) size_++;
  slot.id = int32_t(id);
  tokens_[size_t(id)] = {uint32_t(bytes_.size()), uint32_t(token.size()), true};
  bytes_ += token;
}

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& e) { return e.key.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  // A node is the range of entries that share its prefix, whose length is its depth.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> nodes = {{0, entries.size(), 0}};
  labels_ = {0};
  for (size_t node = 0; node < nodes.size(); node++) {
    auto [begin, end, depth] = nodes[node];
    int32_t value = kNone;
    while (begin < end && entries[begin].key.size() == depth) value = entries[begin++].value;
    values_.push_back(value);
    first_child_.push_back(int32_t(nodes.size()));
    while (begin < end) {
      char label = entries[begin].key[depth];
      size_t last = begin;
      while (last < end && entries[last].key[depth] == label) last++;
      if (node == 0) root_[uint8_t(label)] = int32_t(nodes.size());
      nodes.push_back({begin, last, depth + 1});
      labels_.push_back(uint8_t(label));
      begin = last;
    }
  }
  first_child_.push_back(int32_t(nodes.size()));
}

int32_t ByteTrie::walk(int32_t node, std::string_view key) const {
  for (char c : key) {
    if (node == kNone) return kNone;
    node = child(node, uint8_t(c));
  }
  return node;
}

}  // namespace lacuna::text
