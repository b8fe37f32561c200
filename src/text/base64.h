#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lacuna::text {

// RFC 4648 with padding; nothing if `text` is not that.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace lacuna::text
