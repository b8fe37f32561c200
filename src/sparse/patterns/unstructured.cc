// Any weight may be removed.
#include "sparse/pattern.h"
#include "sparse/select.h"

namespace lacuna {
PatternKind unstructured_pattern();
namespace {

class Unstructured : public Pattern {
 public:
  std::string name() const override { return "unstructured"; }
  std::optional<std::string> refuses(int64_t, int64_t, int64_t) const override { return std::nullopt; }
  Mask select(ConstMatrixRef scores, int64_t, int64_t kept_units, bool) const override { return keep_best(scores, kept_units); }
  int64_t violations(const Mask&, int64_t) const override { return 0; }
  bool obeyed_by(const Mask&, int64_t) const override { return true; }
};

std::unique_ptr<Pattern> parse(std::string_view text) {
  if (text != "unstructured" && text != "0:0") return nullptr;
  return std::make_unique<Unstructured>();
}

}  // namespace

PatternKind unstructured_pattern() {
  return {"unstructured", "zeros anywhere", "'unstructured' or '0:0'", "Han et al. 2015, arXiv:1506.02626", parse};
}

}  // namespace lacuna
