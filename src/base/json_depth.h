// How deep a JSON text nests.
#pragma once

#include <string_view>

namespace lacuna {

// The most arrays and objects that are open at once, counted without parsing: what is not JSON gets some number too. For readers that bound the depth
// of foreign texts. (nlohmann's parser can call back at each level, but then takes the square of the number of objects in an object.)
int json_depth(std::string_view text) noexcept;

}  // namespace lacuna
