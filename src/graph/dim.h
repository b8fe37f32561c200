// Dimensions: integer expressions over named symbols. A constant is the common case and costs no allocation.
// Arithmetic throws InvalidData where a coefficient leaves 64 bits or an expression grows beyond use (4096 characters).
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

  // Bounds that hold whatever the symbols are, which count things and so are at least 0; nullopt where none is known.
  std::optional<int64_t> lower_bound() const;
  std::optional<int64_t> upper_bound() const;

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
  struct Bounds {
    std::optional<int64_t> lower, upper;
  };
  Bounds bounds() const;
  static std::optional<Dim> exact_quotient(const Dim& a, const Dim& b);
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
