// What the readers of tokenizer files share.
#pragma once

#include <memory>
#include <string_view>

#include "text/components.h"

namespace lacuna::text {

std::unique_ptr<Parts> parts_from_json(std::string_view json, std::string_view name_for_errors);
// A sentencepiece model file (protobuf).
std::unique_ptr<Parts> parts_from_sentencepiece(std::string_view bytes, std::string_view name_for_errors, class HubConfig& config);
// Makes `bos first eos` and `bos first eos bos second eos` the post-processing; an id of -1 is left out.
void set_bos_eos(Parts& parts, int32_t bos, int32_t eos);
// To be called when all parts are in place.
void finish(Parts& parts);

}  // namespace lacuna::text
