#include "prune/criterion.h"

#include <string>
#include <vector>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

#define CRITERION(name) Criterion name##_criterion();
#include "prune/criteria.def"
#undef CRITERION

std::span<const Criterion> criteria() {
#define CRITERION(name) name##_criterion(),
  static const Criterion table[] = {
#include "prune/criteria.def"
  };
#undef CRITERION
  return table;
}

const Criterion& criterion_named(std::string_view name) {
  std::vector<std::string> known;
  for (const Criterion& criterion : criteria()) {
    if (criterion.name == name) return criterion;
    known.emplace_back(criterion.name);
  }
  throw InvalidArgument(cat("unknown criterion '", name, "'; known are ", join(known)));
}

}  // namespace lacuna
