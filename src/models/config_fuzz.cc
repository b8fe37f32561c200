// Any config.json over a checkpoint that has a few of the tensors it may ask for.
#include "lacuna/error.h"
#include "models/family.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  try {
    Checkpoint checkpoint{.config = Config::parse({reinterpret_cast<const char*>(data), size}, "config.json")};
    for (const char* name : {"model.embed_tokens.weight", "wte.weight", "embeddings.word_embeddings.weight", "lm_head.weight"}) {
      Weight weight{.name = name, .shape = {4, 2}};
      weight.source = in_memory({.values = Tensor(DType::kF32, {4, 2})});
      checkpoint.tensors.push_back(weight);
    }
    build_model(std::move(checkpoint));
  } catch (const Error&) {
  }
  return 0;
}
