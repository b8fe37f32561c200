// Files inside a folder, sorted by path, or inside a .tar, .tar.gz, .zip ... (libarchive), in the order of the archive.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lacuna {

struct FileEntry {
  std::string path;  // relative, '/' separated
  std::vector<std::byte> bytes;
};

// Calls `wanted(path)` for every regular file, and `visit` with its bytes where that says yes. A single file may hold at most 256 MiB.
// Throws NotFound, InvalidData (a damaged archive, or a tar without its end: file and reason named).
void for_each_file(const std::filesystem::path& source, const std::function<bool(const std::string& path)>& wanted,
                   const std::function<void(FileEntry)>& visit);

}  // namespace lacuna
