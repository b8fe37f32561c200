#include <cstdlib>

#include "data/images.h"
#include "lacuna/error.h"

// A JPEG or PNG: an error, or as many pixels as its size says.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lacuna::Image image = lacuna::decode_image(std::as_bytes(std::span(data, size)), "input");
    if (image.pixels.size() != size_t(image.height * image.width * 3)) std::abort();
  } catch (const lacuna::Error&) {
  }
  return 0;
}
