#include "kernels/problem.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/cat.h"
#include "lacuna/error.h"
#include "sparse/pattern.h"

namespace lacuna::kernels {
namespace {

DType default_activations(DType weights) { return is_integer(weights) ? DType::kS8 : DType::kF32; }

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < text.size();) {
    size_t end = std::min(text.find(' ', i), text.size());
    if (end > i) words.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

// key=value words; each must be taken once, and those taken are the ones that there are.
class Settings {
 public:
  Settings(std::string_view text, std::span<const std::string_view> words) : text_(text) {
    for (std::string_view word : words) {
      size_t equals = word.find('=');
      if (equals == std::string_view::npos || equals == 0) fail(cat("found '", word, "', wanted KEY=VALUE"));
      auto [it, fresh] = values_.emplace(word.substr(0, equals), word.substr(equals + 1));
      if (!fresh) fail(cat("'", it->first, "' is given twice"));
    }
  }
  [[noreturn]] void fail(const std::string& what) const { throw InvalidArgument(cat("problem '", text_, "': ", what)); }

  std::string take(const std::string& key, std::string fallback) {
    known_.push_back(key);
    auto it = values_.find(key);
    if (it == values_.end()) return fallback;
    fallback = it->second;
    values_.erase(it);
    return fallback;
  }
  double number(const std::string& key, double fallback, double smallest, double largest) {
    if (!values_.contains(key)) return take(key, ""), fallback;
    std::string word = take(key, "");
    double value = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || !(value >= smallest && value <= largest))
      fail(cat("found ", key, "=", word, ", wanted a number from ", smallest, " to ", largest));
    return value;
  }
  int64_t integer(const std::string& key, int64_t fallback, int64_t smallest, int64_t largest = int64_t(1) << 24) {
    double value = number(key, double(fallback), double(smallest), double(largest));
    if (value != double(int64_t(value))) fail(cat("found ", key, "=", value, ", wanted a whole number"));
    return int64_t(value);
  }
  void all_taken() const {
    if (!values_.empty()) fail(cat("unknown key '", values_.begin()->first, "'; known: ", join(known_)));
  }

 private:
  std::string_view text_;
  std::map<std::string, std::string> values_;
  std::vector<std::string> known_;
};

DType type_named(const Settings& settings, std::string_view name) {
  std::optional<DType> type = dtype_from_name(name);
  if (!type || !(*type == DType::kF32 || *type == DType::kBF16 || *type == DType::kF16 || *type == DType::kS8 || *type == DType::kS4))
    settings.fail(cat("unknown type '", name, "'; known: f32, bf16, f16, s8, s4"));
  return *type;
}

// In its canonical spelling.
std::string pattern_named(const Settings& settings, std::string_view name) {
  if (name == "dense") return "dense";
  try {
    return parse_pattern(name)->name();
  } catch (const InvalidArgument& error) {
    settings.fail(cat(error.what(), ", or dense"));
  }
}

// What fits into memory a few times over.
void check_size(const Settings& settings, const char* what, double elements) {
  constexpr double kMost = double(int64_t(1) << 31);
  if (elements > kMost) settings.fail(cat(elements, " ", what, ", at most ", int64_t(kMost), " are tried"));
}

LinearCase parse_linear(DType weights, std::string pattern, Settings& settings) {
  LinearCase c;
  LinearProblem& p = c.problem;
  p.weights = weights, p.pattern = std::move(pattern);
  c.mask_file = settings.take("pattern", "");
  if (c.mask_file.starts_with("@")) c.mask_file.erase(0, 1);
  bool by_file = !c.mask_file.empty();
  if (by_file && !c.mask_file.ends_with(".smtx")) settings.fail(cat("found pattern=", c.mask_file, ", wanted pattern=FILE.smtx"));
  if (by_file && p.pattern == "dense") settings.fail("a dense weight has no mask; wanted a pattern with pattern=FILE.smtx, such as unstructured");
  if (!by_file) {
    p.rows = settings.integer("m", 1, 0), p.cols = settings.integer("k", 1, 0);
    p.sparsity = settings.number("sparsity", 0, 0, 1);
  }
  c.tokens = settings.integer("n", 1, 0);
  p.activations = type_named(settings, settings.take("act", std::string(name_of(default_activations(weights)))));
  p.group = settings.integer("group", 0, 0), p.minima = settings.integer("minima", 0, 0, 1) != 0;
  if (settings.integer("static", 0, 0, 1)) p.input_scale = 0.03f;
  check_size(settings, "weights", double(p.rows) * double(p.cols));
  check_size(settings, "activations", double(std::max(p.rows, p.cols)) * double(c.tokens));
  return c;
}

ConvCase parse_conv(DType weights, std::string pattern, Settings& settings) {
  ConvCase c;
  ConvProblem& p = c.problem;
  p.weights = weights, p.pattern = std::move(pattern);
  p.activations = type_named(settings, settings.take("act", std::string(name_of(default_activations(weights)))));
  if (p.activations == DType::kS8) p.input_scale = 0.03f;
  p.in_channels = settings.integer("ic", 1, 1), p.out_channels = settings.integer("oc", 1, 1), p.groups = settings.integer("groups", 1, 1);
  if (p.in_channels % p.groups || p.out_channels % p.groups)
    settings.fail(cat("found groups=", p.groups, " ic=", p.in_channels, " oc=", p.out_channels, ", wanted groups that divide ic and oc"));
  int64_t k = settings.integer("k", 1, 1, 1024), stride = settings.integer("stride", 1, 1, 1024), dilation = settings.integer("dilation", 1, 1, 1024);
  p.kernel_h = settings.integer("kh", k, 1, 1024), p.kernel_w = settings.integer("kw", k, 1, 1024);
  p.stride_h = settings.integer("stride_h", stride, 1, 1024), p.stride_w = settings.integer("stride_w", stride, 1, 1024);
  p.dilation_h = settings.integer("dilation_h", dilation, 1, 1024), p.dilation_w = settings.integer("dilation_w", dilation, 1, 1024);
  int64_t pad = settings.integer("pad", -1, 0, 1024);
  int64_t pad_h = pad >= 0 ? pad : p.dilation_h * (p.kernel_h - 1) / 2, pad_w = pad >= 0 ? pad : p.dilation_w * (p.kernel_w - 1) / 2;
  p.pad_top = settings.integer("pad_top", pad_h, 0, 1024), p.pad_bottom = settings.integer("pad_bottom", pad_h, 0, 1024);
  p.pad_left = settings.integer("pad_left", pad_w, 0, 1024), p.pad_right = settings.integer("pad_right", pad_w, 0, 1024);
  p.sparsity = settings.number("sparsity", 0, 0, 1);
  c.batch = settings.integer("n", 1, 0), c.in_h = settings.integer("h", 1, 1), c.in_w = settings.integer("w", 1, 1);
  if (p.out_h(c.in_h) < 1 || p.out_w(c.in_w) < 1)
    settings.fail(cat("the kernel, ", p.kernel_h, " x ", p.kernel_w, ", is larger than the padded input, ", c.in_h + p.pad_top + p.pad_bottom, " x ",
                      c.in_w + p.pad_left + p.pad_right));
  check_size(settings, "weights", double(p.in_channels / p.groups) * double(p.out_channels) * double(p.kernel_h * p.kernel_w));
  double pixels = std::max(double(c.in_h) * double(c.in_w), double(p.out_h(c.in_h)) * double(p.out_w(c.in_w)));
  check_size(settings, "activations", double(std::max(p.in_channels, p.out_channels)) * pixels * double(c.batch));
  return c;
}

}  // namespace

std::string LinearProblem::to_string(int64_t tokens) const {
  std::string out = cat("spmm ", name_of(weights), " ", pattern, " m=", rows, " k=", cols, " n=", tokens, " sparsity=", sparsity);
  if (activations != default_activations(weights)) out += cat(" act=", name_of(activations));
  if (group) out += cat(" group=", group);
  if (minima) out += " minima=1";
  if (input_scale > 0) out += " static=1";
  return out;
}

std::string ConvProblem::to_string(int64_t batch, int64_t in_h, int64_t in_w) const {
  std::string out = cat("conv ", name_of(weights), " ", pattern, " ic=", in_channels, " oc=", out_channels);
  auto pair = [&](const char* key, const char* key_h, const char* key_w, int64_t h, int64_t w) {
    out += h == w ? cat(" ", key, "=", h) : cat(" ", key_h, "=", h, " ", key_w, "=", w);
  };
  pair("k", "kh", "kw", kernel_h, kernel_w);
  pair("stride", "stride_h", "stride_w", stride_h, stride_w);
  if (dilation_h != 1 || dilation_w != 1) pair("dilation", "dilation_h", "dilation_w", dilation_h, dilation_w);
  if (pad_top == pad_left && pad_top == pad_bottom && pad_top == pad_right)
    out += cat(" pad=", pad_top);
  else
    out += cat(" pad_top=", pad_top, " pad_left=", pad_left, " pad_bottom=", pad_bottom, " pad_right=", pad_right);
  if (groups != 1) out += cat(" groups=", groups);
  if (activations != default_activations(weights)) out += cat(" act=", name_of(activations));
  return out + cat(" h=", in_h, " w=", in_w, " n=", batch, " sparsity=", sparsity);
}

std::vector<std::string> expand_problems(std::string_view text) {
  size_t open = text.find('{'), close = text.find('}');
  if (open == std::string_view::npos && close == std::string_view::npos) return {std::string(text)};
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    throw InvalidArgument(cat("problem '", text, "': a brace without its partner; wanted for example m={768,3072}"));
  std::vector<std::string> out;
  for (size_t from = open + 1; from <= close;) {
    size_t to = std::min(text.find(',', from), close);
    for (std::string& problem : expand_problems(cat(text.substr(0, open), text.substr(from, to - from), text.substr(close + 1))))
      out.push_back(std::move(problem));
    from = to + 1;
  }
  return out;
}

std::variant<LinearCase, ConvCase> parse_problem(std::string_view text) {
  std::vector<std::string_view> words = words_of(text);
  if (words.size() < 3 || (words[0] != "spmm" && words[0] != "conv"))
    throw InvalidArgument(cat("problem '", text, "': found ",
                              words.empty() ? "nothing" : cat("'", words[0], "' and ", words.size() - 1, " words more"),
                              ", wanted 'spmm TYPE PATTERN m= k= n= ...' or 'conv TYPE PATTERN ic= oc= ...'"));
  Settings settings(text, std::span(words).subspan(3));
  DType weights = type_named(settings, words[1]);
  std::string pattern = pattern_named(settings, words[2]);
  std::variant<LinearCase, ConvCase> parsed;
  if (words[0] == "spmm")
    parsed = parse_linear(weights, std::move(pattern), settings);
  else
    parsed = parse_conv(weights, std::move(pattern), settings);
  settings.all_taken();
  return parsed;
}

}  // namespace lacuna::kernels
