// A symbolic dimension is a polynomial: terms (sorted lists of atom names) with integer coefficients. An atom is a symbol
// or a call such as floor_div(a, b), named by its own text, so equal text is equal value and sums cancel.
#include "graph/dim.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "base/assert.h"
#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {

struct Dim::Expression {
  struct Atom {
    std::string symbol;                  // for symbols
    std::string function;                // for calls
    std::shared_ptr<const Dim> a, b;
  };
  std::map<std::vector<std::string>, int64_t> terms;  // {} is the constant term
  std::map<std::string, Atom> atoms;                  // by text
  std::string text;
};

namespace {

int64_t floor_division(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

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
      text += (c < 0 ? " - " : " + ") + term_text(it->first, c < 0 ? -c : c);
  }
  return text.empty() ? "0" : text;
}

}  // namespace

// Drops zero terms and unused atoms; a polynomial without atoms is a constant.
Dim Dim::finish(std::shared_ptr<Expression> e) {
  std::erase_if(e->terms, [](auto& t) { return t.second == 0; });
  if (e->terms.empty()) return Dim(0);
  if (e->terms.size() == 1 && e->terms.begin()->first.empty()) return Dim(e->terms.begin()->second);
  std::erase_if(e->atoms, [&](auto& atom) {
    return std::none_of(e->terms.begin(), e->terms.end(), [&](auto& t) { return std::find(t.first.begin(), t.first.end(), atom.first) != t.first.end(); });
  });
  e->text = polynomial_text(e->terms);
  return Dim(std::shared_ptr<const Expression>(std::move(e)));
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(a.value_ + b.value_);
  auto e = std::make_shared<Dim::Expression>();
  for (const Dim* d : {&a, &b}) {
    if (d->is_constant()) {
      e->terms[{}] += d->value_;
    } else {
      for (auto& [atoms, c] : d->expression_->terms) e->terms[atoms] += c;
      e->atoms.insert(d->expression_->atoms.begin(), d->expression_->atoms.end());
    }
  }
  return Dim::finish(std::move(e));
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(a.value_ * b.value_);
  auto terms_of = [](const Dim& d) { return d.is_constant() ? Terms{{{}, d.value_}} : d.expression_->terms; };
  auto e = std::make_shared<Dim::Expression>();
  for (auto& [x, cx] : terms_of(a))
    for (auto& [y, cy] : terms_of(b)) {
      std::vector<std::string> atoms = x;
      atoms.insert(atoms.end(), y.begin(), y.end());
      std::sort(atoms.begin(), atoms.end());
      e->terms[atoms] += cx * cy;
    }
  for (const Dim* d : {&a, &b})
    if (!d->is_constant()) e->atoms.insert(d->expression_->atoms.begin(), d->expression_->atoms.end());
  return Dim::finish(std::move(e));
}

Dim operator-(const Dim& a, const Dim& b) { return a + Dim(-1) * b; }

Dim Dim::call(const char* function, const Dim& a, const Dim& b) {
  auto e = std::make_shared<Expression>();
  std::string text = cat(function, "(", a.to_string(), ", ", b.to_string(), ")");
  e->terms[{text}] = 1;
  e->atoms[text] = {"", function, std::make_shared<Dim>(a), std::make_shared<Dim>(b)};
  e->text = text;
  return Dim(std::shared_ptr<const Expression>(std::move(e)));
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant() && b.value_ != 0) return Dim(floor_division(a.value_, b.value_));
  if (b.is_constant() && b.value_ == 1) return a;
  if (a == b) return Dim(1);
  if (!a.is_constant() && !(b.is_constant() && b.value_ == 0)) {
    // Exact division term by term: 8*batch / 4 = 2*batch; batch*tokens / tokens = batch.
    auto e = std::make_shared<Dim::Expression>();
      bool exact = true;
    if (b.is_constant()) {
      for (auto& [atoms, c] : a.expression_->terms) {
        exact = exact && c % b.value_ == 0;
        e->terms[atoms] = c / b.value_;
      }
    } else if (b.expression_->terms.size() == 1) {
      auto& [divisor, k] = *b.expression_->terms.begin();
      for (auto& [atoms, c] : a.expression_->terms) {
        std::vector<std::string> rest;
        exact = exact && c % k == 0 && std::includes(atoms.begin(), atoms.end(), divisor.begin(), divisor.end());
        std::set_difference(atoms.begin(), atoms.end(), divisor.begin(), divisor.end(), std::back_inserter(rest));
        e->terms[rest] = c / k;
      }
    } else {
      exact = false;
    }
    if (exact) {
      e->atoms = a.expression_->atoms;
      return Dim::finish(std::move(e));
    }
  }
  return Dim::call("floor_div", a, b);
}

Dim min(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(std::min(a.value_, b.value_));
  return a == b ? a : Dim::call("min", a, b);
}

Dim max(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(std::max(a.value_, b.value_));
  return a == b ? a : Dim::call("max", a, b);
}

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

// sum := product (('+' | '-') product)*; product := factor ('*' factor)*; factor := '-' factor | integer | name | name '(' sum ',' sum ')' | '(' sum ')'
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
      if (accept('+')) d = d + product();
      else if (accept('-')) d = d - product();
      else break;
    }
    depth_--;
    return d;
  }
  Dim product() {
    Dim d = factor();
    while (accept('*')) d = d * factor();
    return d;
  }
  static bool name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == ':' || c == '/' || c == '?' || c == '@' || c == '#'; }
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
      if (word.size() > 18) fail();
      return Dim(std::stoll(word));
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
