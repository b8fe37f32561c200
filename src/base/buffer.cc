#include "base/buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"
#include "base/cat.h"
#include "base/memory.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

struct File {
  int fd;
  size_t size;
  ~File() { ::close(fd); }
};

File open_for_reading(const std::filesystem::path& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    std::string message = cat(path, ": cannot open: ", std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) throw NotFound(message);
    throw IoError(message);
  }
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    throw IoError(cat(path, ": not a regular file"));
  }
  return {fd, size_t(status.st_size)};
}

}  // namespace

Bytes Bytes::slice(size_t offset, size_t count) const {
  LACUNA_ASSERT(offset <= size && count <= size - offset);
  return {owner, data + offset, count};
}

std::shared_ptr<std::byte[]> allocate(size_t size, bool zeroed) {
  constexpr size_t kHuge = size_t(2) << 20;
  size_t alignment = size + 64 >= kHuge ? kHuge : 64;
  // The kernel would promise more than there is and kill the process when it is touched.
  if (size > size_t(memory_limit_bytes())) throw ResourceExhausted(cat("cannot allocate ", size, " bytes, there are ", memory_limit_bytes()));
  size_t padded = (size + 64 + alignment - 1) / alignment * alignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, padded));
  if (!memory) throw ResourceExhausted(cat("cannot allocate ", size, " bytes"));
  // A small remainder would take a whole page of its own.
  size_t in_huge_pages = size >= 2 * kHuge ? padded : (size + 64) / kHuge * kHuge;
  if (in_huge_pages > 0) ::madvise(memory, in_huge_pages, MADV_HUGEPAGE);
  if (zeroed)
    std::memset(memory, 0, size + 64);
  else
    std::memset(memory + size, 0, padded - size < 4096 ? padded - size : 64);
  return {memory, [](std::byte* p) { std::free(p); }};
}

Bytes map_file(const std::filesystem::path& path) {
  File file = open_for_reading(path);
  if (file.size == 0) return {};
  void* address = ::mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) throw IoError(cat(path, ": cannot map: ", std::strerror(errno)));
  std::shared_ptr<const void> owner(address, [size = file.size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  return {owner, static_cast<const std::byte*>(address), file.size};
}

void drop_pages(const Bytes& mapped) noexcept {
  auto begin = (reinterpret_cast<uintptr_t>(mapped.data) + 4095) & ~uintptr_t(4095);
  auto end = (reinterpret_cast<uintptr_t>(mapped.data) + mapped.size) & ~uintptr_t(4095);
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, size_t limit) {
  File file = open_for_reading(path);
  if (file.size > limit) throw InvalidData(cat(path, ": is ", file.size, " bytes, at most ", limit, " expected"));
  std::string text(file.size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    ssize_t n = ::read(file.fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw IoError(cat(path, ": read ", done, " of ", text.size(), " bytes"));
    done += size_t(n);
  }
  return text;
}

}  // namespace lacuna
