#include <cstring>

#include "io/gguf.h"
#include "lacuna/error.h"

// Parses the file, asks every value as every type, and loads every tensor.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  auto memory = allocate(size);
  if (size) std::memcpy(memory.get(), data, size);
  try {
    auto file = std::make_shared<const GgufFile>(Bytes{memory, memory.get(), size}, "input");
    auto attempt = [](auto&& read) {
      try {
        read();
      } catch (const Error&) {
      }
    };
    for (auto& kv : file->key_values()) {
      attempt([&] { file->integer(kv.key); });
      attempt([&] { file->number(kv.key); });
      attempt([&] { file->flag(kv.key); });
      attempt([&] { file->text(kv.key); });
      attempt([&] { file->texts(kv.key); });
      attempt([&] { file->integers(kv.key); });
      attempt([&] { file->numbers(kv.key); });
    }
    for (auto& tensor : file->tensors()) attempt([&] { gguf_weight(file, tensor).load(); });
  } catch (const Error&) {
  }
  return 0;
}
