#include "io/onnx/scope.h"

#include "base/cat.h"

namespace lacuna::onnx {

void Problems::add(std::string subject, std::string where) { places_[std::move(subject)].push_back(std::move(where)); }

std::string Problems::text() const {
  std::string out = cat(places_.size(), places_.size() == 1 ? " thing is" : " things are", " not supported:");
  for (auto& [subject, places] : places_) {
    out += cat("\n  ", subject, " (");
    if (places.size() > 1) out += cat(places.size(), " times: ");
    out += cat(join(places, ", ", 8), ")");
  }
  return out;
}

}  // namespace lacuna::onnx
