#include "base/cat.h"

namespace lacuna {

std::string join(std::span<const std::string> items, std::string_view separator, size_t limit) {
  std::string out;
  for (size_t i = 0; i < items.size() && i < limit; i++) {
    if (i) out += separator;
    out += items[i];
  }
  if (items.size() > limit) out += cat(separator, "and ", items.size() - limit, " more");
  return out;
}

}  // namespace lacuna
