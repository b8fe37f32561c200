// The precompiled character map of a sentencepiece model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::text {

class CharsMap {
 public:
  // An empty map replaces nothing. Throws InvalidData.
  explicit CharsMap(std::string_view bytes);

  struct Hit {
    size_t length;  // bytes of the text that are replaced
    std::string_view replacement;
  };
  // The longest or the shortest key that `text` begins with.
  std::optional<Hit> find(std::string_view text, bool longest) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace lacuna::text
