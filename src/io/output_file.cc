#include "io/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/buffer.h"
#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

// "No space left on device: 4096 bytes are needed, 0 are free"
std::string reason_text(int reason, int fd, int64_t needed) {
  std::string text = std::strerror(reason);
  struct statvfs disk {};
  if ((reason == ENOSPC || reason == EDQUOT) && ::fstatvfs(fd, &disk) == 0)
    text += cat(": ", needed, " bytes are needed, ", int64_t(disk.f_bavail) * int64_t(disk.f_frsize), " are free");
  return text;
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code ignored;  // what is missing then shows below
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), ignored);
  std::string name = path_.string() + ".XXXXXX.partial";
  fd_ = ::mkostemps(name.data(), 8, O_CLOEXEC);
  if (fd_ < 0) throw IoError(cat(path_, ": cannot create a file beside it: ", std::strerror(errno)));
  temporary_ = name;
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd_, 0666 & ~mask);
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void OutputFile::reserve(int64_t size_bytes) {
  if (size_bytes <= end_) return;
  int status;
  do status = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, end_, size_bytes - end_);
  while (status != 0 && errno == EINTR);
  if (status == 0) return;
  int reason = errno;
  if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG)
    throw IoError(cat(path_, ": cannot write: ", reason_text(reason, fd_, size_bytes - end_)));
}

void OutputFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, offset + int64_t(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int reason = n < 0 ? errno : EIO;
      throw IoError(cat(path_, ": cannot write ", bytes.size(), " bytes at byte ", offset, " (", done,
                        " were written): ", reason_text(reason, fd_, int64_t(bytes.size() - done))));
    }
    done += size_t(n);
  }
  end_ = std::max(end_, offset + int64_t(bytes.size()));
}

void OutputFile::append(std::span<const std::byte> bytes) { write_at(end_, bytes); }
void OutputFile::append(std::string_view text) { append(std::as_bytes(std::span(text.data(), text.size()))); }

void OutputFile::commit() {
  if (::fsync(fd_) != 0) throw IoError(cat(path_, ": cannot sync: ", reason_text(errno, fd_, end_)));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw IoError(cat(temporary_, ": cannot rename to ", path_, ": ", std::strerror(errno)));
  ::close(fd_);
  fd_ = -1;
  sync_directory(path_.parent_path());
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  OutputFile file(path);
  file.append(text);
  file.commit();
}

void copy_file_synced(const std::filesystem::path& from, const std::filesystem::path& to) {
  Bytes bytes = map_file(from);
  OutputFile file(to);
  file.reserve(int64_t(bytes.size));
  constexpr size_t kChunk = size_t(16) << 20;
  for (size_t at = 0; at < bytes.size; at += kChunk) {
    Bytes chunk = bytes.slice(at, std::min(kChunk, bytes.size - at));
    file.append(chunk.span());
    drop_pages(chunk);
  }
  file.commit();
}

void sync_directory(const std::filesystem::path& directory) {
  int fd = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw IoError(cat(directory, ": cannot open directory: ", std::strerror(errno)));
  int status = ::fsync(fd), reason = errno;
  ::close(fd);
  if (status != 0 && reason != EINVAL) throw IoError(cat(directory, ": cannot sync directory: ", std::strerror(reason)));
}

}  // namespace lacuna
