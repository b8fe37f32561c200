// A sentencepiece model; its own pieces are the text to encode.
#include <string_view>

#include "lacuna/error.h"
#include "text/builder.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    auto parts = text::parts_from_model(text::read_sentencepiece(bytes, "fuzz"), "fuzz");
    text::finish(*parts);
    Tokenizer tokenizer(std::move(parts));
    tokenizer.decode(tokenizer.encode(bytes.substr(0, 4096)));
  } catch (const Error&) {
  }
  return 0;
}
