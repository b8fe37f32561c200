#include "kernels/smtx.h"
#include "lacuna/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lacuna::kernels::parse_smtx({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const lacuna::Error&) {
  }
  return 0;
}
