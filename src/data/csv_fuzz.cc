#include "data/csv.h"
#include "lacuna/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lacuna::parse_csv({reinterpret_cast<const char*>(data), size}, "input");
  } catch (const lacuna::Error&) {
  }
  return 0;
}
