#include "base/json_depth.h"

#include <algorithm>

namespace lacuna {

int json_depth(std::string_view text) noexcept {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '\\' && in_string)
      i++;
    else if (c == '"')
      in_string = !in_string;
    else if (!in_string && (c == '[' || c == '{'))
      deepest = std::max(deepest, ++depth);
    else if (!in_string && (c == ']' || c == '}'))
      depth--;
  }
  return deepest;
}

}  // namespace lacuna
