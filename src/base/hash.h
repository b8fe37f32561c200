// XXH3-128 (Collet), for detecting changed bytes; not cryptographic.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace lacuna {

class Hasher {
 public:
  Hasher();
  ~Hasher();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::string hex() const;  // 32 hex digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hash_hex(std::span<const std::byte> bytes);
std::string hash_hex(std::string_view text);
// Streams the file. Throws NotFound, IoError.
std::string hash_file(const std::filesystem::path& path);

}  // namespace lacuna
