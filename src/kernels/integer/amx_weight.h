// What the AMX candidates share.
#pragma once

#include "kernels/integer/amx.h"
#include "kernels/integer/lane16_pack.h"

namespace lacuna::kernels {

// Linux grants the tile registers to a process that asks; asks once.
bool amx_granted();

// The layout of lane16.h with signed codes and whole tiles; its quantizer and output are those of the 512-bit kernels.
const Lane16Isa& amx_layout();

}  // namespace lacuna::kernels
