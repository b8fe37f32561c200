// A tokenizer.json, then a zero byte, then the text to encode.
#include <string_view>

#include "lacuna/error.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  size_t end = std::min(input.find('\0'), size);
  std::string_view text = input.substr(std::min(end + 1, size)).substr(0, 4096);
  try {
    auto tokenizer = lacuna::tokenizer_from_json(input.substr(0, end), "fuzz");
    auto ids = tokenizer->encode(text);
    tokenizer->decode(ids);
    tokenizer->encode_pair(text, "a", false);
  } catch (const lacuna::Error&) {
  }
  return 0;
}
