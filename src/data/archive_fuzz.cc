#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/cat.h"
#include "data/archive.h"
#include "lacuna/error.h"

// A tar, zip ..., as a file in memory: libarchive reads files.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int file = ::memfd_create("archive", MFD_CLOEXEC);
  if (file < 0 || ::write(file, data, size) != ssize_t(size)) std::abort();
  try {
    size_t total = 0;
    lacuna::for_each_file(
        lacuna::cat("/proc/self/fd/", file), [&](const std::string&) { return total < (size_t(1) << 24); },
        [&](lacuna::FileEntry entry) { total += entry.bytes.size(); });
  } catch (const lacuna::Error&) {
  }
  ::close(file);
  return 0;
}
