#include <cstdlib>

#include "lacuna/error.h"
#include "lacuna/prune.h"

// A recipe that is read is written as one that reads the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    std::string yaml = lacuna::to_yaml(lacuna::parse_recipe(std::string(reinterpret_cast<const char*>(data), size), "input"));
    if (lacuna::to_yaml(lacuna::parse_recipe(yaml, "written")) != yaml) std::abort();
  } catch (const lacuna::Error&) {
  }
  return 0;
}
