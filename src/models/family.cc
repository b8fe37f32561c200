#include "models/family.h"

#include "base/cat.h"
#include "lacuna/error.h"
#include "models/builder.h"

namespace lacuna {

#define LACUNA_FAMILY(model_type, builder) void builder(Builder&);
#include "models/families.def"
#undef LACUNA_FAMILY

namespace {
struct Family {
  std::string_view model_type;
  void (*build)(Builder&);
};
constexpr Family kFamilies[] = {
#define LACUNA_FAMILY(model_type, builder) {model_type, builder},
#include "models/families.def"
#undef LACUNA_FAMILY
};
}  // namespace

std::vector<std::string> known_model_types() {
  std::vector<std::string> out;
  for (auto& family : kFamilies) out.emplace_back(family.model_type);
  return out;
}

std::shared_ptr<Graph> build_model(Checkpoint checkpoint, std::optional<SentenceHead> sentence) {
  const Config& config = checkpoint.config;
  std::string type = config.text("model_type", "");
  for (auto& family : kFamilies) {
    if (family.model_type != type) continue;
    if (config.has("quantization_config") && !checkpoint.compression_read) {
      throw Unsupported(cat(config.source(), ": has a quantization_config (", config.dump("quantization_config"),
                            "); Lacuna reads dense weights, GGUF, and sparse-bitmask or sparse-24-bitmask of compressed-tensors"));
    }
    Builder builder(std::move(checkpoint), std::move(sentence));
    family.build(builder);
    return builder.finish();
  }
  throw Unsupported(cat(config.source(), ": model_type is '", type, "', known are ", join(known_model_types())));
}

}  // namespace lacuna
