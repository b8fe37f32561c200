#include "io/output_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/buffer.h"
#include "base/cat.h"
#include "io/lacuna_directory.h"
#include "io/output_file.h"
#include "lacuna/error.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMarker = ".lacuna-job";  // holds the job key; locked while a process writes
constexpr const char* kOursPrefix = ".lacuna-";

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw IoError(cat(path, ": cannot remove: ", error.message()));
}

// What only an unfinished directory needs.
void remove_job_files(const fs::path& directory) {
  std::error_code error;
  for (auto& entry : fs::directory_iterator(directory, error))
    if (entry.path().filename().string().starts_with(kOursPrefix)) fs::remove(entry.path(), error);
}

// Trailing slashes would put OUT.partial inside OUT.
fs::path without_slash(const fs::path& path) {
  if (path.empty()) throw InvalidArgument("the output has an empty path");
  return path.has_filename() ? path : path.parent_path();
}

// A file in the directory that its lacuna.json does not list; empty if there is none, or if that cannot be read.
fs::path foreign_file(const fs::path& directory) {
  std::set<fs::path> ours;
  try {
    for (auto& file : lacuna_files(directory)) ours.insert(file.lexically_normal());
  } catch (const Error&) {
    return {};
  }
  std::error_code error;
  for (auto& entry : fs::recursive_directory_iterator(directory, error))
    if (!entry.is_directory(error) && !entry.path().filename().string().starts_with(kOursPrefix) && !ours.contains(entry.path().lexically_normal()))
      return entry.path();
  return {};
}

bool is_or_holds(const fs::path& out, const fs::path& input) {
  std::error_code error;
  fs::path outer = fs::weakly_canonical(without_slash(out), error), inner = fs::weakly_canonical(without_slash(input), error);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

void check_replaceable(const fs::path& out, bool force, const fs::path& input) {
  std::error_code error;
  fs::file_status status = fs::symlink_status(out, error);
  if (!fs::exists(status)) return;
  if (!input.empty() && is_or_holds(out, input)) throw InvalidArgument(cat(out, ": is or holds the model that is read; name another output"));
  if (fs::is_directory(status) && fs::is_empty(out, error)) return;  // nothing can be lost
  if (!force) throw InvalidArgument(cat(out, ": exists already; --force replaces it"));
  if (fs::is_regular_file(status)) return;
  if (fs::is_directory(status) && fs::is_regular_file(out / "lacuna.json", error)) {
    fs::path foreign = foreign_file(out);
    if (foreign.empty()) return;
    throw InvalidArgument(cat(out, ": holds ", foreign.filename(), ", which is no part of the model there; --force does not remove it"));
  }
  throw InvalidArgument(cat(out, ": is neither a regular file nor a directory with a lacuna.json; --force does not replace it"));
}

void check_replaceable_by_directory(const fs::path& out, bool force, const fs::path& input) {
  std::error_code error;
  if (fs::is_regular_file(fs::symlink_status(without_slash(out), error)) && (input.empty() || !is_or_holds(out, input)))
    throw InvalidArgument(cat(out, ": is a file, and the output is a directory, which does not replace it; remove it or name another output"));
  check_replaceable(out, force, input);
}

OutputDirectory::OutputDirectory(fs::path out, bool force, std::string job_key)
    : out_(without_slash(out)), partial_(out_.string() + ".partial"), force_(force), resumable_(!job_key.empty()) {
  check_replaceable_by_directory(out_, force);
  std::error_code error;
  bool there = fs::exists(fs::symlink_status(partial_, error));
  bool ours = there && fs::is_directory(fs::symlink_status(partial_, error)) && fs::is_regular_file(fs::symlink_status(partial_ / kMarker, error));
  if (there && !ours && !(fs::is_directory(fs::symlink_status(partial_, error)) && fs::is_empty(partial_, error))) {
    throw InvalidArgument(cat(partial_, ": is in the way and was not made by Lacuna; move it"));
  }
  fs::create_directories(partial_, error);
  if (error) throw IoError(cat(partial_, ": cannot create: ", error.message()));
  lock();
  resumed_ = ours && resumable_ && read_text_file(partial_ / kMarker, 1 << 20) == job_key;
  if (resumed_) return;
  for (auto& entry : fs::directory_iterator(partial_))
    if (entry.path().filename() != kMarker) remove_tree(entry.path());
  // Written in place: the lock is on this file.
  if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, job_key.data(), job_key.size(), 0) != ssize_t(job_key.size())) {
    throw IoError(cat(partial_ / kMarker, ": cannot write ", job_key.size(), " bytes: ", std::strerror(errno)));
  }
}

OutputDirectory::~OutputDirectory() {
  std::error_code error;
  auto nothing_to_resume = [&] {
    bool nothing = true;
    for (fs::directory_iterator entry(partial_, error); !error && entry != fs::directory_iterator(); entry.increment(error))
      nothing = nothing && entry->path().filename() == kMarker;
    return nothing && !error;
  };
  if (!done_ && (!resumable_ || nothing_to_resume())) fs::remove_all(partial_, error);
  if (lock_ >= 0) ::close(lock_);
}

void OutputDirectory::lock() {
  fs::path marker = partial_ / kMarker;
  lock_ = ::open(marker.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (lock_ < 0) throw IoError(cat(marker, ": cannot open: ", std::strerror(errno)));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    lock_ = -1;
    throw InvalidArgument(cat(partial_, ": another process is writing this output"));
  }
}

void OutputDirectory::commit() {
  check_replaceable_by_directory(out_, force_);  // it may have come while we worked
  sync_directory(partial_);
  std::error_code error;
  fs::file_status status = fs::symlink_status(out_, error);
  bool replaced = fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(out_, error));
  if (replaced) {
    // At every moment OUT is either the old model or the new one. The old one is marked first: a crash before its removal leaves a
    // directory that the next run knows to be ours.
    if (fs::is_directory(status)) write_file(out_ / kMarker, "");
    if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) != 0)
      throw IoError(cat(out_, ": cannot exchange with ", partial_, ": ", std::strerror(errno)));
  } else if (::rename(partial_.c_str(), out_.c_str()) != 0) {  // fails on a file or a directory with entries
    throw IoError(cat(partial_, ": cannot rename to ", out_, ": ", std::strerror(errno)));
  }
  done_ = true;
  sync_directory(out_.parent_path());
  remove_job_files(out_);
  if (replaced) remove_tree(partial_);
}

void OutputDirectory::discard() {
  remove_tree(partial_);
  done_ = true;
}

}  // namespace lacuna
