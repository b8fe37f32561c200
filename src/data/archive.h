// Files inside a .tar, .tar.gz, .zip ... (libarchive) or a folder, in one order: sorted by path.
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

// Calls `visit` for every regular file, in archive order (folders: sorted). `wanted(path)` says whether to read the bytes.
// A single file may hold at most 256 MiB. Throws NotFound, InvalidData (damaged archive, file and libarchive's reason named).
void for_each_file(const std::filesystem::path& source, const std::function<bool(const std::string& path)>& wanted, const std::function<void(FileEntry)>& visit);

}  // namespace lacuna
