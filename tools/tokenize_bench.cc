// tokenize_bench time TOKENIZER_DIRECTORY TEXT_FILE [REPEATS]
//   Encodes the file on one thread and prints the best time.
// tokenize_bench ids TOKENIZER_DIRECTORY < TEXTS
//   TEXTS: each a 4-byte little-endian length and its bytes. For each text prints its ids, its ids without special tokens, and what
//   decode makes of the first with and without special tokens, in hexadecimal, one line each. For tools/fixtures/compare_tokenizers.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/buffer.h"
#include "lacuna/error.h"
#include "text/tokenizer.h"

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int time_encode(const lacuna::Tokenizer& tokenizer, const std::string& file, int repeats) {
  std::string text = lacuna::read_text_file(file);
  double best = std::numeric_limits<double>::infinity();
  size_t count = 0;
  for (int i = 0; i < repeats; i++) {
    double start = seconds();
    count = tokenizer.encode(text).size();
    best = std::min(best, seconds() - start);
  }
  std::printf("%zu bytes, %zu ids, %.3f s, %.2f MB/s\n", text.size(), count, best, double(text.size()) / best / 1e6);
  return 0;
}

void print_ids(const std::vector<int32_t>& ids) {
  for (int32_t id : ids) std::printf("%d ", id);
  std::printf("\n");
}

void print_hex(const std::string& text) {
  for (char c : text) std::printf("%02x", static_cast<unsigned char>(c));
  std::printf("\n");
}

int print_texts(const lacuna::Tokenizer& tokenizer) {
  unsigned char header[4];
  while (std::fread(header, 1, 4, stdin) == 4) {
    std::string text(header[0] | size_t(header[1]) << 8 | size_t(header[2]) << 16 | size_t(header[3]) << 24, '\0');
    if (std::fread(text.data(), 1, text.size(), stdin) != text.size()) return 1;
    try {
      auto ids = tokenizer.encode(text, true);
      print_ids(ids);
      print_ids(tokenizer.encode(text, false));
      print_hex(tokenizer.decode(ids, true));
      print_hex(tokenizer.decode(ids, false));
    } catch (const lacuna::Error& e) {
      std::printf("error\nerror\nerror\nerror\n");
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc > 1 ? argv[1] : "";
  try {
    if (mode == "time" && argc >= 4) return time_encode(*lacuna::load_tokenizer(argv[2]), argv[3], argc > 4 ? std::atoi(argv[4]) : 3);
    if (mode == "ids" && argc == 3) return print_texts(*lacuna::load_tokenizer(argv[2]));
  } catch (const lacuna::Error& e) {
    std::fprintf(stderr, "tokenize_bench: %s\n", e.what());
    return 1;
  }
  std::fprintf(stderr, "usage: tokenize_bench time DIRECTORY FILE [REPEATS] | ids DIRECTORY < TEXTS\n");
  return 2;
}
