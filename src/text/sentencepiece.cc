#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/hub_config.h"

namespace lacuna::text {

std::unique_ptr<Parts> parts_from_sentencepiece(std::string_view, std::string_view name, const HubConfig&) {
  throw Unsupported(cat(name, ": sentencepiece models"));
}

}  // namespace lacuna::text
