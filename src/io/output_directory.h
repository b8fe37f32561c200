// Directories that appear whole or not at all: built in OUT.partial/, synced, renamed. An interrupted OUT.partial/ can be resumed.
#pragma once

#include <filesystem>
#include <string>

namespace lacuna {

// Refuses to write over what is there. Throws InvalidArgument if `out` exists and `force` is not set, or is set and `out` is neither
// a regular file nor a directory of a lacuna.json and the files that it lists, or is the model that is read or holds it.
void check_replaceable(const std::filesystem::path& out, bool force, const std::filesystem::path& input = {});

// The same for an output that is a directory: it does not take the place of a file, which may be anything.
void check_replaceable_by_directory(const std::filesystem::path& out, bool force, const std::filesystem::path& input = {});

class OutputDirectory {
 public:
  // Creates OUT.partial/ or, if it is there with the same `job_key`, continues in it (resumed() is then true). One of another job is
  // emptied first; a directory that no OutputDirectory made is never touched. An empty job_key is never resumed.
  // Throws InvalidArgument (see check_replaceable_by_directory; also while another process writes the same output), IoError.
  OutputDirectory(std::filesystem::path out, bool force, std::string job_key);
  ~OutputDirectory();  // without commit(): leaves OUT.partial/ for a later resume, or removes it if there can be none
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const std::filesystem::path& partial() const { return partial_; }
  bool resumed() const { return resumed_; }
  // Syncs, puts OUT.partial/ in the place of OUT (exchanged at once if OUT is there, then deleted), and removes the files of the job,
  // whose names begin with ".lacuna-". Throws as the constructor where OUT has appeared meanwhile.
  void commit();
  // Removes OUT.partial/ now.
  void discard();

 private:
  void lock();
  std::filesystem::path out_, partial_;
  bool force_, resumed_ = false, resumable_, done_ = false;
  int lock_ = -1;
};

}  // namespace lacuna
