// FNV-1a over strings: names what a tokenizer was made from. Not cryptographic.
#pragma once

#include <cstdint>
#include <string_view>

namespace lacuna::text {

class Digest {
 public:
  // Strings are told apart by a byte that UTF-8 has not.
  void add(std::string_view s) {
    for (char c : s) step(uint8_t(c));
    step(0xff);
  }
  uint64_t value() const { return value_; }

 private:
  void step(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3; }
  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace lacuna::text
