// A symbolic dimension is a polynomial: terms (sorted lists of atom names) with integer coefficients. An atom is a symbol
// or a call such as floor_div(a, b), named by its own text, so equal text is equal value and sums cancel.
#include "graph/dim.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>

#include "base/assert.h"
#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

struct Dim::Expression {
  struct Atom {
    std::string symbol;    // for symbols
    std::string function;  // for calls
    std::shared_ptr<const Dim> a, b;
  };
  std::map<std::vector<std::string>, int64_t> terms;  // {} is the constant term
  std::map<std::string, Atom> atoms;                  // by text
  std::string text;
};

namespace {

constexpr size_t kMaxTerms = 128, kMaxText = 4096;  // beyond these an expression is of no use to anybody (and could grow without end)

[[noreturn]] void overflow() { throw InvalidData("a dimension leaves the range of 64-bit integers"); }
[[noreturn]] void too_long() { throw InvalidData("a dimension's expression is too long to be of use"); }

int64_t sum_of(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_add_overflow(a, b, &out)) overflow();
  return out;
}

int64_t product_of(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_mul_overflow(a, b, &out)) overflow();
  return out;
}

int64_t floor_division(int64_t a, int64_t b) {
  if (b == -1) return product_of(a, -1);
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}

std::string term_text(const std::vector<std::string>& atoms, int64_t coefficient) {
  std::string out;
  if (coefficient != 1 || atoms.empty()) out = std::to_string(coefficient);
  for (auto& atom : atoms) out += (out.empty() ? "" : "*") + atom;
  return out;
}

}  // namespace

Dim Dim::symbol(std::string name) {
  auto e = std::make_shared<Expression>();
  e->terms[{name}] = 1;
  e->atoms[name] = {name, "", nullptr, nullptr};
  e->text = name;
  return Dim(std::move(e));
}

int64_t Dim::value() const {
  LACUNA_ASSERT(is_constant());
  return value_;
}

namespace {

using Terms = std::map<std::vector<std::string>, int64_t>;

std::string polynomial_text(const Terms& terms) {
  std::string text;
  for (auto it = terms.rbegin(); it != terms.rend(); ++it) {
    int64_t c = it->second;
    if (text.empty())
      text = term_text(it->first, c);
    else
      text += (c < 0 ? " - " : " + ") + term_text(it->first, c < 0 ? product_of(c, -1) : c);
    if (text.size() > kMaxText) too_long();
  }
  return text.empty() ? "0" : text;
}

// By degree, then by names: an order that products keep, as exact division needs.
bool smaller(const std::vector<std::string>& a, const std::vector<std::string>& b) { return a.size() != b.size() ? a.size() < b.size() : a < b; }

}  // namespace

// Drops zero terms and unused atoms; a polynomial without atoms is a constant.
Dim Dim::finish(std::shared_ptr<Expression> e) {
  std::erase_if(e->terms, [](auto& t) { return t.second == 0; });
  if (e->terms.empty()) return Dim(0);
  if (e->terms.size() == 1 && e->terms.begin()->first.empty()) return Dim(e->terms.begin()->second);
  if (e->terms.size() > kMaxTerms) too_long();
  std::erase_if(e->atoms, [&](auto& atom) {
    return std::none_of(e->terms.begin(), e->terms.end(),
                        [&](auto& t) { return std::find(t.first.begin(), t.first.end(), atom.first) != t.first.end(); });
  });
  e->text = polynomial_text(e->terms);
  return Dim(std::shared_ptr<const Expression>(std::move(e)));
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(sum_of(a.value_, b.value_));
  auto e = std::make_shared<Dim::Expression>();
  for (const Dim* d : {&a, &b}) {
    if (d->is_constant()) {
      e->terms[{}] = sum_of(e->terms[{}], d->value_);
    } else {
      for (auto& [atoms, c] : d->expression_->terms) e->terms[atoms] = sum_of(e->terms[atoms], c);
      e->atoms.insert(d->expression_->atoms.begin(), d->expression_->atoms.end());
    }
  }
  return Dim::finish(std::move(e));
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(product_of(a.value_, b.value_));
  auto terms_of = [](const Dim& d) { return d.is_constant() ? Terms{{{}, d.value_}} : d.expression_->terms; };
  auto e = std::make_shared<Dim::Expression>();
  for (auto& [x, cx] : terms_of(a))
    for (auto& [y, cy] : terms_of(b)) {
      std::vector<std::string> atoms = x;
      atoms.insert(atoms.end(), y.begin(), y.end());
      std::sort(atoms.begin(), atoms.end());
      e->terms[atoms] = sum_of(e->terms[atoms], product_of(cx, cy));
      if (e->terms.size() > kMaxTerms || atoms.size() > kMaxTerms) too_long();
    }
  for (const Dim* d : {&a, &b})
    if (!d->is_constant()) e->atoms.insert(d->expression_->atoms.begin(), d->expression_->atoms.end());
  return Dim::finish(std::move(e));
}

Dim operator-(const Dim& a, const Dim& b) { return a + Dim(-1) * b; }

Dim Dim::call(const char* function, const Dim& a, const Dim& b) {
  auto e = std::make_shared<Expression>();
  std::string text = cat(function, "(", a.to_string(), ", ", b.to_string(), ")");
  if (text.size() > kMaxText) too_long();
  e->terms[{text}] = 1;
  e->atoms[text] = {"", function, std::make_shared<Dim>(a), std::make_shared<Dim>(b)};
  e->text = text;
  return Dim(std::shared_ptr<const Expression>(std::move(e)));
}

// q with q * b == a, by long division of polynomials: batch*tokens / tokens = batch.
std::optional<Dim> Dim::exact_quotient(const Dim& a, const Dim& b) {
  if (a.is_constant() || b.is_constant()) return std::nullopt;
  auto leading = [](const Terms& terms) {
    return std::max_element(terms.begin(), terms.end(), [](auto& x, auto& y) { return smaller(x.first, y.first); });
  };
  auto [divisor, k] = *leading(b.expression_->terms);
  Dim rest = a, quotient(0);
  for (size_t step = 0; step < kMaxTerms && !rest.is_constant(); step++) {
    auto [atoms, c] = *leading(rest.expression_->terms);
    if (c % k != 0 || !std::includes(atoms.begin(), atoms.end(), divisor.begin(), divisor.end())) return std::nullopt;
    auto e = std::make_shared<Expression>();
    std::vector<std::string> left;
    std::set_difference(atoms.begin(), atoms.end(), divisor.begin(), divisor.end(), std::back_inserter(left));
    e->terms[left] = floor_division(c, k);
    e->atoms = rest.expression_->atoms;
    Dim term = finish(std::move(e));
    quotient = quotient + term;
    rest = rest - term * b;
  }
  return rest == Dim(0) ? std::optional(quotient) : std::nullopt;
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (b.is_constant() && b.value_ == 0) return Dim::call("floor_div", a, b);
  if (a.is_constant() && b.is_constant()) return Dim(floor_division(a.value_, b.value_));
  if (b.is_constant() && b.value_ == 1) return a;
  if (a == b) return Dim(1);
  if (auto exact = Dim::exact_quotient(a, b)) return *exact;
  if (!b.is_constant() || b.value_ < 0) return Dim::call("floor_div", a, b);
  // a = b * whole + rest with coefficients of the rest in [0, b): 8*batch + 5 over 4 is 2*batch + 1.
  auto whole = std::make_shared<Dim::Expression>(), rest = std::make_shared<Dim::Expression>();
  whole->atoms = rest->atoms = a.expression_->atoms;
  for (auto& [atoms, c] : a.expression_->terms) {
    whole->terms[atoms] = floor_division(c, b.value_);
    rest->terms[atoms] = c - whole->terms[atoms] * b.value_;
  }
  Dim q = Dim::finish(std::move(whole)), r = Dim::finish(std::move(rest));
  if (r.is_constant()) return q;
  // (x / k + c) / b = (x + c k) / (k b), so that a tower of strided layers stays one division.
  auto& terms = r.expression_->terms;
  auto last = std::prev(terms.end());
  bool one_atom = last->first.size() == 1 && last->second == 1 && (terms.size() == 1 || (terms.size() == 2 && terms.begin()->first.empty()));
  if (one_atom) {
    auto& atom = r.expression_->atoms.at(last->first[0]);
    if (atom.function == "floor_div" && atom.b->is_constant() && atom.b->value_ > 0) {
      int64_t c = terms.size() == 2 ? terms.begin()->second : 0;
      return q + floor_div(*atom.a + Dim(product_of(c, atom.b->value_)), Dim(product_of(atom.b->value_, b.value_)));
    }
  }
  return q + Dim::call("floor_div", r, b);
}

namespace {

// One order for the operands of min and max, so that equal values have equal text; constants come last.
bool in_order(const Dim& a, const Dim& b) { return !a.is_constant() && (b.is_constant() || a.to_string() <= b.to_string()); }

}  // namespace

Dim min(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(std::min(a.value_, b.value_));
  Dim::Bounds difference = (a - b).bounds();
  if (difference.lower && *difference.lower >= 0) return b;
  if (difference.upper && *difference.upper <= 0) return a;
  return in_order(a, b) ? Dim::call("min", a, b) : Dim::call("min", b, a);
}

Dim max(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(std::max(a.value_, b.value_));
  Dim::Bounds difference = (a - b).bounds();
  if (difference.lower && *difference.lower >= 0) return a;
  if (difference.upper && *difference.upper <= 0) return b;
  return in_order(a, b) ? Dim::call("max", a, b) : Dim::call("max", b, a);
}

namespace {

// Bounds of a sum or product of bounds that may be missing; a bound that overflows is as good as none.
std::optional<int64_t> combine(std::optional<int64_t> a, std::optional<int64_t> b, bool multiply) {
  int64_t out;
  if (!a || !b || (multiply ? __builtin_mul_overflow(*a, *b, &out) : __builtin_add_overflow(*a, *b, &out))) return std::nullopt;
  return out;
}

}  // namespace

Dim::Bounds Dim::bounds() const {
  if (is_constant()) return {value_, value_};
  Bounds total{0, 0};
  for (auto& [names, c] : expression_->terms) {
    Bounds term{1, 1};
    for (auto& name : names) {
      auto& atom = expression_->atoms.at(name);
      Bounds x{0, std::nullopt};
      if (!atom.function.empty()) {
        Bounds a = atom.a->bounds(), b = atom.b->bounds();
        bool positive_divisor = b.lower && *b.lower > 0;
        if (atom.function == "floor_div") {
          x.lower = positive_divisor && a.lower && *a.lower >= 0 ? std::optional<int64_t>(b.upper ? *a.lower / *b.upper : 0) : std::nullopt;
          x.upper = positive_divisor && a.upper && *a.upper >= 0 ? std::optional(*a.upper / *b.lower) : std::nullopt;
        } else if (atom.function == "min") {
          x.lower = a.lower && b.lower ? std::optional(std::min(*a.lower, *b.lower)) : std::nullopt;
          x.upper = a.upper && b.upper ? std::optional(std::min(*a.upper, *b.upper)) : a.upper ? a.upper : b.upper;
        } else {
          x.lower = a.lower && b.lower ? std::optional(std::max(*a.lower, *b.lower)) : a.lower ? a.lower : b.lower;
          x.upper = a.upper && b.upper ? std::optional(std::max(*a.upper, *b.upper)) : std::nullopt;
        }
      }
      if (names.size() == 1)
        term = x;
      else if (x.lower && *x.lower >= 0)
        term = {combine(term.lower, x.lower, true), combine(term.upper, x.upper, true)};
      else
        return {};  // a product with a factor that may be negative
    }
    Bounds scaled{combine(term.lower, c, true), combine(term.upper, c, true)};
    if (c < 0) std::swap(scaled.lower, scaled.upper);
    total = {combine(total.lower, scaled.lower, false), combine(total.upper, scaled.upper, false)};
  }
  return total;
}

std::optional<int64_t> Dim::lower_bound() const { return bounds().lower; }
std::optional<int64_t> Dim::upper_bound() const { return bounds().upper; }

bool operator==(const Dim& a, const Dim& b) {
  if (a.is_constant() != b.is_constant()) return false;
  return a.is_constant() ? a.value_ == b.value_ : a.expression_ == b.expression_ || a.expression_->text == b.expression_->text;
}

Dim Dim::bind(const Bindings& bindings) const {
  if (is_constant()) return *this;
  Dim sum(0);
  for (auto& [atoms, c] : expression_->terms) {
    Dim term(c);
    for (auto& name : atoms) {
      auto& atom = expression_->atoms.at(name);
      if (atom.function.empty()) {
        auto it = bindings.find(atom.symbol);
        term = term * (it == bindings.end() ? symbol(atom.symbol) : Dim(it->second));
      } else {
        Dim x = atom.a->bind(bindings), y = atom.b->bind(bindings);
        term = term * (atom.function == "floor_div" ? floor_div(x, y) : atom.function == "min" ? min(x, y) : max(x, y));
      }
    }
    sum = sum + term;
  }
  return sum;
}

void Dim::collect_symbols(std::set<std::string>& into) const {
  if (is_constant()) return;
  for (auto& [text, atom] : expression_->atoms) {
    if (atom.function.empty()) {
      into.insert(atom.symbol);
    } else {
      atom.a->collect_symbols(into);
      atom.b->collect_symbols(into);
    }
  }
}

std::string Dim::to_string() const { return is_constant() ? std::to_string(value_) : expression_->text; }

namespace {

// sum := product (('+' | '-') product)*; product := factor ('*' factor)*; factor := '-' factor | integer | name | name '(' sum ',' sum ')' | '(' sum
// ')'
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}
  Dim parse() {
    Dim d = sum();
    skip();
    if (at_ != text_.size()) fail();
    return d;
  }

 private:
  [[noreturn]] void fail() const { throw InvalidData(cat("dimension '", text_, "' cannot be read at column ", at_ + 1)); }
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') at_++;
  }
  bool accept(char c) {
    skip();
    if (at_ < text_.size() && text_[at_] == c) return at_++, true;
    return false;
  }
  Dim sum() {
    if (++depth_ > 100) fail();
    Dim d = product();
    for (;;) {
      if (accept('+'))
        d = d + product();
      else if (accept('-'))
        d = d - product();
      else
        break;
    }
    depth_--;
    return d;
  }
  Dim product() {
    Dim d = factor();
    while (accept('*')) d = d * factor();
    return d;
  }
  static bool name_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == ':' || c == '/' || c == '?' || c == '@' || c == '#';
  }
  Dim factor() {
    if (++depth_ > 100) fail();
    Dim d = factor_inner();
    depth_--;
    return d;
  }
  Dim factor_inner() {
    skip();
    if (accept('-')) return Dim(-1) * factor();
    if (accept('(')) {
      Dim d = sum();
      if (!accept(')')) fail();
      return d;
    }
    size_t begin = at_;
    while (at_ < text_.size() && name_char(text_[at_])) at_++;
    std::string word(text_.substr(begin, at_ - begin));
    if (word.empty() || word.size() > 200) fail();
    if (std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c); })) {
      int64_t value = 0;
      auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (error != std::errc() || end != word.data() + word.size()) fail();
      return Dim(value);
    }
    if (!accept('(')) return Dim::symbol(word);
    Dim a = sum();
    if (!accept(',')) fail();
    Dim b = sum();
    if (!accept(')')) fail();
    if (word == "floor_div") return floor_div(a, b);
    if (word == "min") return min(a, b);
    if (word == "max") return max(a, b);
    fail();
  }
  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Dim Dim::parse(std::string_view text) { return Parser(text).parse(); }

std::string to_string(const SymShape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); i++) out += (i ? ", " : "") + shape[i].to_string();
  return out + "]";
}

Dim product(const SymShape& shape, size_t begin, size_t end) {
  Dim p(1);
  for (size_t i = begin; i < std::min(end, shape.size()); i++) p = p * shape[i];
  return p;
}

std::optional<std::vector<int64_t>> constant_shape(const SymShape& shape) {
  std::vector<int64_t> out;
  for (auto& d : shape) {
    if (!d.is_constant()) return std::nullopt;
    out.push_back(d.value());
  }
  return out;
}

}  // namespace lacuna
