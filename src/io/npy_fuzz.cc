#include "io/npy.h"
#include "lacuna/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lacuna::parse_npy(std::as_bytes(std::span(data, size)), "input");
  } catch (const lacuna::Error&) {
  }
  return 0;
}
