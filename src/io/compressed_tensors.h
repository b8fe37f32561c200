// Checkpoints that compressed-tensors (Neural Magic) wrote with its sparse compressors.
#pragma once

#include "models/family.h"

namespace lacuna {

// Turns the tensors of a `sparse-bitmask` or `sparse-24-bitmask` checkpoint (NAME.compressed, NAME.bitmask, NAME.shape, and for
// sparse-bitmask NAME.row_offsets) into masked weights under NAME, and takes the configuration that describes them out of
// checkpoint.config. Others pass unchanged.
// Throws: Unsupported on another format, naming it; InvalidData listing tensors whose parts are missing or contradict each other.
Checkpoint decompress(Checkpoint checkpoint);

}  // namespace lacuna
