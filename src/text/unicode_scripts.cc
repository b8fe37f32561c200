#include "text/unicode_scripts.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace lacuna::text {
namespace {

struct ScriptRange {
  char32_t first;
  int16_t script;
};

constexpr ScriptRange kRanges[] = {
#include "text/unicode_scripts.inc"
};

}  // namespace

int joined_script(char32_t c) {
  auto after = std::upper_bound(std::begin(kRanges), std::end(kRanges), c, [](char32_t code, const ScriptRange& r) { return code < r.first; });
  return std::prev(after)->script;
}

}  // namespace lacuna::text
