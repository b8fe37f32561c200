// Sinks through which long work reports; the library itself never prints.
#pragma once

#include <cstdint>
#include <string_view>

namespace lacuna {

// Receives progress of long work. Calls come from one thread, the one that runs the work.
class Progress {
 public:
  virtual ~Progress() = default;
  // `done` of `total` units of `what` ("pruning", "layers") are finished.
  virtual void update(std::string_view what, int64_t done, int64_t total) = 0;
};

}  // namespace lacuna
