// Hash over strings: names what a tokenizer was made from.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"

namespace lacuna::text {

class Digest {
 public:
  // Strings are told apart by a byte that UTF-8 has not.
  void add(std::string_view s) {
    hasher_.update(std::as_bytes(std::span(s)));
    hasher_.update(std::as_bytes(std::span(kEnd)));
  }
  std::string value() const { return hasher_.hex(); }

 private:
  static constexpr char kEnd[1] = {'\xff'};
  Hasher hasher_;
};

}  // namespace lacuna::text
