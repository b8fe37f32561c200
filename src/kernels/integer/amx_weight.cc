#include "kernels/integer/amx_weight.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace lacuna::kernels {

namespace avx512_vbmi2 {
extern const Lane16Isa lane16;
}

bool amx_granted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

const Lane16Isa& amx_layout() {
  static const Lane16Isa isa = [] {
    Lane16Isa layout = avx512_vbmi2::lane16;
    layout.bias8 = 0, layout.unit_multiple = 2;
    return layout;
  }();
  return isa;
}

}  // namespace lacuna::kernels
