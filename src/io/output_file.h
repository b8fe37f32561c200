// Files that appear whole or not at all: written under a temporary name, synced, renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace lacuna {

class OutputFile {
 public:
  // Creates a temporary file of a name of its own beside `path`, which is untouched before commit(). Makes missing parents. Throws IoError.
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();  // without commit(): removes the temporary file
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Claims room on the disk for a file of that size, where the file system can: a disk too full is found before any work is done.
  // Throws IoError naming the file, the bytes needed and the bytes free.
  void reserve(int64_t size_bytes);
  // Throws IoError naming the file, the byte position and how much was to be written, and on a full disk what is free.
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);
  int64_t size() const { return end_; }  // one past the last byte written

  // Syncs and renames over `path`.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  int64_t end_ = 0;
};

// The whole text under `path`, replacing what was there at once. Throws IoError.
void write_file(const std::filesystem::path& path, std::string_view text);
// Copies a regular file the same way. Throws NotFound, IoError.
void copy_file_synced(const std::filesystem::path& from, const std::filesystem::path& to);
// Makes names created or renamed in a directory durable. Throws IoError.
void sync_directory(const std::filesystem::path& directory);

}  // namespace lacuna
