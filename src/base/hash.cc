#include "base/hash.h"

#include <cstdio>

#include "base/buffer.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lacuna {
namespace {
std::string to_hex(XXH128_hash_t hash) {
  char out[33];
  std::snprintf(out, sizeof out, "%016llx%016llx", static_cast<unsigned long long>(hash.high64), static_cast<unsigned long long>(hash.low64));
  return out;
}
}  // namespace

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh); }
Hasher::~Hasher() = default;
void Hasher::update(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()); }
void Hasher::update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
std::string Hasher::hex() const { return to_hex(XXH3_128bits_digest(state_->xxh)); }

std::string hash_hex(std::span<const std::byte> bytes) { return to_hex(XXH3_128bits(bytes.data(), bytes.size())); }
std::string hash_hex(std::string_view text) { return hash_hex(std::as_bytes(std::span(text.data(), text.size()))); }

std::string hash_file(const std::filesystem::path& path) {
  Bytes bytes = map_file(path);
  Hasher hasher;
  constexpr size_t kChunk = size_t(16) << 20;  // dropped as read, so that hashing a large model stays small in memory
  for (size_t at = 0; at < bytes.size; at += kChunk) {
    Bytes chunk = bytes.slice(at, std::min(kChunk, bytes.size - at));
    hasher.update(chunk.span());
    drop_pages(chunk);
  }
  return hasher.hex();
}

}  // namespace lacuna
