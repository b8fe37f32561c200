// Bytes as an ONNX model: parse, import, raise.
#include <cstdint>
#include <cstring>

#include "graph/passes/passes.h"
#include "io/onnx/read.h"
#include "lacuna/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  auto memory = allocate(size, false);
  if (size) std::memcpy(memory.get(), data, size);
  try {
    auto graph = onnx::import_model(onnx::parse_model("fuzz.onnx", {memory, memory.get(), size}));
    run_passes(*graph, import_passes());
  } catch (const Error&) {
  }
  return 0;
}
