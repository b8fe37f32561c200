// Dimensions: integer expressions over named symbols. A constant is the common case and costs no allocation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

using Bindings = std::map<std::string, int64_t>;  // symbol -> value

class Dim {
 public:
  Dim(int64_t value = 0) : value_(value) {}
  static Dim symbol(std::string name);

  bool is_constant() const { return !expression_; }
  std::optional<int64_t> constant() const { return expression_ ? std::nullopt : std::optional(value_); }
  int64_t value() const;  // requires is_constant()

  // Replaces bound symbols and folds.
  Dim bind(const Bindings& bindings) const;
  void collect_symbols(std::set<std::string>& into) const;

  // "batch", "2*past + 1", "floor_div(height + 1, 2)": parse reads what to_string writes. parse throws InvalidData.
  std::string to_string() const;
  static Dim parse(std::string_view text);

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  // Division rounding towards minus infinity; division by constant zero gives a value of its own that equals nothing.
  friend Dim floor_div(const Dim& a, const Dim& b);
  friend Dim min(const Dim& a, const Dim& b);
  friend Dim max(const Dim& a, const Dim& b);
  // Structural equality after normalisation into a polynomial over atoms: true means provably equal.
  friend bool operator==(const Dim& a, const Dim& b);

 private:
  struct Expression;
  explicit Dim(std::shared_ptr<const Expression> expression) : expression_(std::move(expression)) {}
  static Dim finish(std::shared_ptr<Expression> expression);
  static Dim call(const char* function, const Dim& a, const Dim& b);

  int64_t value_ = 0;
  std::shared_ptr<const Expression> expression_;
};

Dim floor_div(const Dim& a, const Dim& b);
Dim min(const Dim& a, const Dim& b);
Dim max(const Dim& a, const Dim& b);
inline Dim ceil_div(const Dim& a, const Dim& b) { return floor_div(a + b - Dim(1), b); }

using SymShape = std::vector<Dim>;
std::string to_string(const SymShape& shape);  // "[batch, 3, 32, 32]"
Dim product(const SymShape& shape, size_t begin = 0, size_t end = SIZE_MAX);
// The shape as integers; nullopt if a dimension is symbolic.
std::optional<std::vector<int64_t>> constant_shape(const SymShape& shape);

}  // namespace lacuna
