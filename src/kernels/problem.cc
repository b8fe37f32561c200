#include "kernels/problem.h"

#include <charconv>
#include <functional>
#include <map>

#include "base/cat.h"
#include "lacuna/error.h"

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

// key=value words; each must be taken once.
class Settings {
 public:
  Settings(std::string_view text, std::span<const std::string_view> words) : text_(text) {
    for (std::string_view word : words) {
      size_t equals = word.find('=');
      if (equals == std::string_view::npos) throw InvalidArgument(cat("problem '", text, "': expected key=value, found '", word, "'"));
      values_[std::string(word.substr(0, equals))] = word.substr(equals + 1);
    }
  }
  std::string take(const std::string& key, std::string fallback) {
    auto it = values_.find(key);
    if (it == values_.end()) return fallback;
    fallback = it->second;
    values_.erase(it);
    return fallback;
  }
  double number(const std::string& key, double fallback, double smallest, double largest) {
    std::string word = take(key, "");
    if (word.empty()) return fallback;
    double value = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || !(value >= smallest && value <= largest))
      throw InvalidArgument(cat("problem '", text_, "': ", key, "=", word, ", wanted a number from ", smallest, " to ", largest));
    return value;
  }
  int64_t integer(const std::string& key, int64_t fallback, int64_t smallest, int64_t largest = int64_t(1) << 24) {
    return int64_t(number(key, double(fallback), double(smallest), double(largest)));
  }
  void all_taken() const {
    if (!values_.empty()) throw InvalidArgument(cat("problem '", text_, "': unknown key '", values_.begin()->first, "'"));
  }

 private:
  std::string_view text_;
  std::map<std::string, std::string> values_;
};

DType type_named(std::string_view text, std::string_view name) {
  std::optional<DType> type = dtype_from_name(name);
  if (!type || !(*type == DType::kF32 || *type == DType::kBF16 || *type == DType::kF16 || *type == DType::kS8 || *type == DType::kS4))
    throw InvalidArgument(cat("problem '", text, "': unknown type '", name, "'; known: f32, bf16, f16, s8, s4"));
  return *type;
}

LinearCase parse_linear(std::string_view text, DType weights, std::string_view pattern, Settings& settings) {
  LinearCase c;
  LinearProblem& p = c.problem;
  p.weights = weights, p.pattern = pattern;
  p.rows = settings.integer("m", 1, 0), p.cols = settings.integer("k", 1, 0), c.tokens = settings.integer("n", 1, 0);
  p.activations = type_named(text, settings.take("act", std::string(name_of(default_activations(weights)))));
  p.group = settings.integer("group", 0, 0), p.minima = settings.integer("minima", 0, 0, 1) != 0;
  if (settings.integer("static", 0, 0, 1)) p.input_scale = 0.03f;
  p.sparsity = settings.number("sparsity", 0, 0, 1);
  c.mask_file = settings.take("pattern", "");
  if (!c.mask_file.empty() && c.mask_file[0] != '@')
    throw InvalidArgument(cat("problem '", text, "': pattern=", c.mask_file, ", wanted pattern=@FILE"));
  if (!c.mask_file.empty()) c.mask_file.erase(0, 1);
  return c;
}

ConvCase parse_conv(std::string_view text, DType weights, std::string_view pattern, Settings& settings) {
  ConvCase c;
  ConvProblem& p = c.problem;
  p.weights = weights, p.pattern = pattern;
  p.activations = type_named(text, settings.take("act", std::string(name_of(default_activations(weights)))));
  if (p.activations == DType::kS8) p.input_scale = 0.03f;
  p.in_channels = settings.integer("ic", 1, 1), p.out_channels = settings.integer("oc", 1, 1), p.groups = settings.integer("groups", 1, 1);
  if (p.in_channels % p.groups || p.out_channels % p.groups)
    throw InvalidArgument(cat("problem '", text, "': groups=", p.groups, " must divide ic and oc"));
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
  if (p.out_h(c.in_h) < 1 || p.out_w(c.in_w) < 1) throw InvalidArgument(cat("problem '", text, "': the kernel is larger than the padded input"));
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

std::variant<LinearCase, ConvCase> parse_problem(std::string_view text) {
  std::vector<std::string_view> words = words_of(text);
  if (words.size() < 3 || (words[0] != "spmm" && words[0] != "conv"))
    throw InvalidArgument(cat("problem '", text, "': wanted 'spmm TYPE PATTERN m= k= n= ...' or 'conv TYPE PATTERN ic= oc= ...'"));
  DType weights = type_named(text, words[1]);
  Settings settings(text, std::span(words).subspan(3));
  std::variant<LinearCase, ConvCase> parsed;
  if (words[0] == "spmm")
    parsed = parse_linear(text, weights, words[2], settings);
  else
    parsed = parse_conv(text, weights, words[2], settings);
  settings.all_taken();
  return parsed;
}

}  // namespace lacuna::kernels
