// The input is the body of a lacuna.json; a right checksum is put behind it, or nothing would get past the first check.
#include "base/cat.h"
#include "base/hash.h"
#include "graph/graph.h"
#include "io/lacuna_record.h"
#include "lacuna/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  std::string body(reinterpret_cast<const char*>(data), size);
  body += cat("\"checksum\": \"", hash_hex(body), "\"\n}\n");
  try {
    LacunaJson json = lacuna_from_text(body, "lacuna.json");
    graph_from_json(json.graph, {});
  } catch (const Error&) {
  }
  return 0;
}
