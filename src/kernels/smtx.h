// ".smtx" files of the Deep Learning Matrix Collection: masks of real pruned weights.
#pragma once

#include <string>
#include <string_view>

#include "sparse/mask.h"

namespace lacuna::kernels {

// "rows, cols, kept", then rows + 1 row offsets, then the column of each kept weight. Throws InvalidData naming `name` and the byte.
Mask parse_smtx(std::string_view text, const std::string& name);

}  // namespace lacuna::kernels
