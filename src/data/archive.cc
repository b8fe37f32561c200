#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>

#include "base/buffer.h"
#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr int64_t kLargestFile = int64_t(256) << 20;

void read_folder(const std::filesystem::path& folder, const std::function<bool(const std::string&)>& wanted,
                 const std::function<void(FileEntry)>& visit) {
  std::vector<std::string> paths;
  for (auto& entry : std::filesystem::recursive_directory_iterator(folder, std::filesystem::directory_options::skip_permission_denied))
    if (entry.is_regular_file()) paths.push_back(std::filesystem::relative(entry.path(), folder).generic_string());
  std::sort(paths.begin(), paths.end());
  for (auto& path : paths) {
    if (!wanted(path)) continue;
    Bytes bytes = map_file(folder / path);
    visit({path, {bytes.data, bytes.data + bytes.size}});
  }
}

// A tar ends in blocks of zeros. libarchive takes the end of the file for the end of the archive as well, so one that was cut off between two files
// would pass for a smaller one.
void check_end(archive* reader, const std::filesystem::path& source) {
  constexpr int64_t kBlock = 512;
  bool tar = (archive_format(reader) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_TAR;
  if (tar && archive_filter_bytes(reader, 0) - archive_read_header_position(reader) < kBlock)
    throw InvalidData(cat(source, ": the archive is cut off: it ends without the end-of-archive blocks of a tar"));
}

}  // namespace

void for_each_file(const std::filesystem::path& source, const std::function<bool(const std::string& path)>& wanted,
                   const std::function<void(FileEntry)>& visit) {
  if (!std::filesystem::exists(source)) throw NotFound(cat(source, ": no such file or folder"));
  if (std::filesystem::is_directory(source)) return read_folder(source, wanted, visit);
  std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_all(reader.get());
  auto fail = [&] {
    const char* reason = archive_error_string(reader.get());
    throw InvalidData(cat(source, ": not a readable archive: ", reason ? reason : "unknown format"));
  };
  if (archive_read_open_filename(reader.get(), source.c_str(), 1 << 16) != ARCHIVE_OK) fail();
  archive_entry* entry = nullptr;
  for (;;) {
    int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return check_end(reader.get(), source);
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) fail();
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    const char* name = archive_entry_pathname(entry);
    std::string path = name ? name : "";
    if (path.starts_with("./")) path.erase(0, 2);
    if (!wanted(path)) continue;
    std::vector<std::byte> bytes;
    std::vector<std::byte> chunk(1 << 16);
    for (;;) {
      la_ssize_t n = archive_read_data(reader.get(), chunk.data(), chunk.size());
      if (n < 0) fail();
      if (n == 0) break;
      bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + n);
      if (int64_t(bytes.size()) > kLargestFile) throw InvalidData(cat(source, ": '", path, "' is larger than ", kLargestFile, " bytes"));
    }
    visit({std::move(path), std::move(bytes)});
  }
}

}  // namespace lacuna
