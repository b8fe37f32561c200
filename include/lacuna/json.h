// The JSON form of what belongs to no single verb.
#pragma once

#include <string>
#include <string_view>

namespace lacuna {

// {"error": {"code": "not_found", "message": "..."}}: what `--json` prints in place of a result.
std::string error_to_json(std::string_view code, std::string_view message);

}  // namespace lacuna
