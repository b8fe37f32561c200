#include "kernels/smtx.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna::kernels {
namespace {

constexpr int64_t kLargestSide = 1 << 20, kMostWeights = int64_t(1) << 31;

class Numbers {
 public:
  Numbers(std::string_view text, const std::string& name) : text_(text), name_(name) {}
  int64_t next(const char* what, int64_t largest) {
    at_ = std::min(text_.find_first_not_of(" ,\t\r\n", at_), text_.size());
    int64_t value = 0;
    auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0 || value > largest)
      throw InvalidData(cat(name_, ": ", what, " at byte ", at_, ": wanted a number from 0 to ", largest, ", found '",
                            text_.substr(at_, std::min(text_.find_first_of(" ,\t\r\n", at_) - at_, size_t(20))), "'"));
    at_ = size_t(end - text_.data());
    return value;
  }

 private:
  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

}  // namespace

Mask parse_smtx(std::string_view text, const std::string& name) {
  Numbers numbers(text, name);
  int64_t rows = numbers.next("rows", kLargestSide), cols = numbers.next("columns", kLargestSide);
  if (rows * cols > kMostWeights) throw InvalidData(cat(name, ": ", rows, " x ", cols, " weights, at most ", kMostWeights, " are read"));
  int64_t kept = numbers.next("kept weights", rows * cols);
  if (rows > int64_t(text.size())) throw InvalidData(cat(name, ": ", rows, " rows do not fit into ", text.size(), " bytes"));
  std::vector<int64_t> offsets(size_t(rows) + 1);
  for (int64_t& offset : offsets) offset = numbers.next("row offset", kept);
  if (offsets.front() != 0 || offsets.back() != kept || !std::is_sorted(offsets.begin(), offsets.end()))
    throw InvalidData(cat(name, ": row offsets must rise from 0 to ", kept));
  Mask mask(rows, cols, false);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = offsets[size_t(r)]; i < offsets[size_t(r) + 1]; i++) mask.set(r, numbers.next("column", cols - 1), true);
  return mask;
}

}  // namespace lacuna::kernels
