// How much memory there is.
#pragma once

#include <cstdint>

namespace lacuna {

// Physical memory of this machine in bytes, or what the control group of the process allows, if that is less.
int64_t memory_limit_bytes() noexcept;

}  // namespace lacuna
