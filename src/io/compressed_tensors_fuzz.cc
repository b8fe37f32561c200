// Input: the bytes of a safetensors file, read once as sparse-bitmask and once as sparse-24-bitmask.
#include "base/cat.h"
#include "io/compressed_tensors.h"
#include "io/safetensors.h"
#include "lacuna/error.h"

using namespace lacuna;

namespace {

std::vector<Weight> tensors_of(const Bytes& file) {
  std::vector<Weight> out;
  SafetensorsHeader header = parse_safetensors_header(file.span(), "input");
  for (auto& entry : header.entries) {
    Tensor values(entry.dtype, entry.shape, false);
    std::copy_n(file.data + header.data_begin + entry.begin, values.size_bytes(), values.mutable_raw());
    out.push_back({.name = entry.name, .shape = entry.shape, .encoding = {.values = entry.dtype}, .source = in_memory({.values = values})});
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto memory = allocate(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, memory.get());
  Bytes file{memory, memory.get(), size};
  for (const char* format : {"sparse-bitmask", "sparse-24-bitmask"}) {
    try {
      std::string config =
          cat(R"({"quantization_config": {"quant_method": "compressed-tensors", "sparsity_config": {"format": ")", format, R"("}}})");
      Checkpoint read = decompress({.config = Config::parse(config, "config.json"), .tensors = tensors_of(file)});
      for (auto& weight : read.tensors) {
        try {
          weight.load();
        } catch (const Error&) {
        }
      }
    } catch (const Error&) {
    }
  }
  return 0;
}
