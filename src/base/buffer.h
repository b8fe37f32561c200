// Memory that tensors live in: 64-byte aligned allocations and mapped files, both shared by reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace lacuna {

// A byte range that keeps its owner (allocation or mapping) alive.
struct Bytes {
  std::shared_ptr<const void> owner;
  const std::byte* data = nullptr;
  size_t size = 0;

  std::span<const std::byte> span() const { return {data, size}; }
  // Requires offset + count <= size.
  Bytes slice(size_t offset, size_t count) const;
};

// 64-byte aligned, zero-initialised if `zeroed`; from 2 MiB on it begins at a page of 2 MiB, and pages of that size are asked for.
// 64 readable spare bytes follow the end, so that vector loads need no tail masks.
// Throws ResourceExhausted.
std::shared_ptr<std::byte[]> allocate(size_t size, bool zeroed = true);

// Maps a file read-only. Throws NotFound, IoError. Pages are loaded when touched.
Bytes map_file(const std::filesystem::path& path);
// Tells the kernel that the pages of this mapped range are no longer needed (they reload from disk if touched).
void drop_pages(const Bytes& mapped) noexcept;

// Whole file as a string, at most `limit` bytes (InvalidData beyond it). Throws NotFound, IoError.
std::string read_text_file(const std::filesystem::path& path, size_t limit = size_t(1) << 30);

}  // namespace lacuna
