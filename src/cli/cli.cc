#include "cli/cli.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace lacuna::cli {
namespace {

class Bar : public Progress {
 public:
  ~Bar() override {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  void update(std::string_view what, int64_t done, int64_t total) override {
    auto now = Clock::now();
    if (what != what_) {
      what_ = what;
      start_ = now;
    }
    double elapsed = std::chrono::duration<double>(now - start_).count();
    if (elapsed < 1 || total <= 0 || std::chrono::duration<double>(now - last_).count() < 0.1) return;
    last_ = now;
    drawn_ = true;
    double share = std::clamp(double(done) / double(total), 0.0, 1.0);
    std::string filled(size_t(share * 30), '#');
    int left = share > 0 ? int(std::lround(elapsed / share * (1 - share))) : 0;
    std::fprintf(stderr, "\r\033[K%s %3d %% [%-30s] %d s left", what_.c_str(), int(share * 100), filled.c_str(), left);
    std::fflush(stderr);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Clock::time_point start_, last_;
  bool drawn_ = false;
};

std::string scaled(double value, double base, const std::vector<const char*>& units) {
  size_t unit = 0;
  while (value >= base - 0.5 && unit + 1 < units.size()) value /= base, unit++;
  char out[40];
  std::snprintf(out, sizeof out, unit == 0 || value >= 100 ? "%.0f%s" : value >= 10 ? "%.1f%s" : "%.2f%s", value, units[unit]);
  return out;
}

// Letters to add, leave out or change to make one word the other (Levenshtein).
size_t edits_between(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

}  // namespace

Verb::Verb(CLI::App& app, const std::string& name, const std::string& help, const std::string& example)
    : command(app.add_subcommand(name, help)), json(std::make_shared<bool>(false)) {
  command->footer("Example:\n  " + example);
  command->add_flag("--json", *json, "Print the result as JSON, or {\"error\": {\"code\", \"message\"}}");
}

CLI::Option* at_least(int64_t least, CLI::Option* option) {
  auto check = [least, option](const std::string& text) {
    char* end = nullptr;
    long long value = std::strtoll(text.c_str(), &end, 10);
    if (end != text.c_str() && *end == 0 && value < least)  // what is no whole number fails when it is read
      throw InvalidArgument(option->get_name() + " must be at least " + std::to_string(least) + ", found " + text);
    return std::string();
  };
  return option->check(check);
}

std::unique_ptr<Progress> progress_bar() { return isatty(STDERR_FILENO) ? std::make_unique<Bar>() : nullptr; }

Table::Table(std::vector<std::string> header) {
  for (auto& cell : header) {
    left_.push_back(cell.starts_with("<"));
    if (left_.back()) cell.erase(0, 1);
  }
  rows_.push_back(std::move(header));
}

void Table::add(std::vector<std::string> row) {
  row.resize(left_.size());
  rows_.push_back(std::move(row));
}

void Table::print() const {
  std::vector<size_t> widths(left_.size());
  auto width = [](const std::string& s) {  // characters, not bytes
    return size_t(std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  };
  for (auto& row : rows_)
    for (size_t i = 0; i < row.size(); i++) widths[i] = std::max(widths[i], width(row[i]));
  for (auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) {
      std::string padding(widths[i] - width(row[i]), ' ');
      line += (i ? "  " : "") + (left_[i] ? row[i] + padding : padding + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%s\n", line.c_str());
  }
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  auto far = std::pair(word.size() / 2 + 1, 0L);  // edits, and minus the letters in common at the beginning
  for (auto& candidate : candidates) {
    auto [in_word, in_candidate] = std::mismatch(word.begin(), word.end(), candidate.begin(), candidate.end());
    if (auto here = std::pair(edits_between(word, candidate), long(word.begin() - in_word)); here < far) far = here, best = candidate;
  }
  return best;
}

std::string bytes_text(int64_t bytes) { return scaled(double(bytes), 1000, {" B", " kB", " MB", " GB", " TB"}); }
std::string count_text(double count) { return scaled(count, 1000, {"", " k", " M", " G", " T"}); }
std::string percent(double share, int digits) { return fixed(share * 100, digits) + " %"; }

std::string fixed(double value, int digits) {
  char out[64];
  std::snprintf(out, sizeof out, "%.*f", digits, value);
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  if (shape.empty()) return "scalar";
  std::string out;
  for (size_t i = 0; i < shape.size(); i++) out += (i ? "x" : "") + std::to_string(shape[i]);
  return out;
}

std::map<std::string, std::string> parse_pairs(const std::vector<std::string>& items, const char* what) {
  std::map<std::string, std::string> out;
  for (auto& item : items) {
    size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) throw InvalidArgument(std::string(what) + ": wanted NAME=VALUE, found '" + item + "'");
    if (!out.emplace(item.substr(0, equals), item.substr(equals + 1)).second)
      throw InvalidArgument(std::string(what) + ": '" + item.substr(0, equals) + "' is given twice");
  }
  return out;
}

std::map<std::string, int64_t> parse_dimensions(const std::vector<std::string>& items) {
  std::map<std::string, int64_t> out;
  for (auto& [name, value] : parse_pairs(items, "--dim")) {
    char* end = nullptr;
    long long n = std::strtoll(value.c_str(), &end, 10);
    if (*end || value.empty() || n < 1) throw InvalidArgument("--dim " + name + ": wanted a positive whole number, found '" + value + "'");
    out[name] = n;
  }
  return out;
}

}  // namespace lacuna::cli
