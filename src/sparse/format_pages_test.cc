// Pages and code cannot disagree: the examples and the size tables of docs/formats/ are read from there.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "sparse/pattern.h"
#include "sparse/testing.h"

namespace lacuna {
namespace {
using namespace testing;

std::vector<std::string> lines_of(std::string_view format) {
  std::string path = cat(LACUNA_SOURCE_DIR, "/docs/formats/", format, ".md"), line;
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<std::string> lines;
  while (std::getline(file, line)) lines.push_back(line);
  return lines;
}

// Lines of the fenced block that opens with "```NAME ..."; the rest of the opening line goes to `options`.
std::vector<std::string> fenced(const std::vector<std::string>& lines, const std::string& name, std::string* options = nullptr) {
  std::vector<std::string> out;
  for (size_t i = 0; i < lines.size(); i++) {
    if (!lines[i].starts_with("```" + name)) continue;
    if (options) *options = lines[i].substr(3 + name.size());
    while (lines[++i] != "```") out.push_back(lines[i]);
  }
  return out;
}

int64_t option(const std::string& options, const std::string& name) {
  size_t at = options.find(" " + name + "=");
  return at == std::string::npos ? 0 : std::atoll(options.c_str() + at + name.size() + 2);
}

MaskedMatrix matrix_of(const std::vector<std::string>& lines, DType type) {
  std::vector<std::vector<std::string>> words;
  for (const std::string& line : lines) {
    std::istringstream in(line);
    words.push_back({std::istream_iterator<std::string>(in), {}});
  }
  MaskedMatrix matrix{type, Mask(int64_t(words.size()), int64_t(words[0].size()), false),
                      Tensor(type, {int64_t(words.size()), int64_t(words[0].size())})};
  for (size_t r = 0; r < words.size(); r++)
    for (size_t c = 0; c < words[r].size(); c++) {
      if (words[r][c] == ".") continue;
      matrix.mask.set(int64_t(r), int64_t(c), true);
      put_code(matrix.codes, int64_t(r), int64_t(c), uint64_t(std::atoll(words[r][c].c_str())));
    }
  return matrix;
}

// "name type [shape] bytes in hexadecimal", spaces squeezed.
std::string part_line(const std::string& name, const Tensor& part) {
  std::string out = cat(name, " ", name_of(part.dtype()), " ", to_string(part.shape()));
  for (size_t i = 0; i < part.size_bytes(); i++) {
    char hex[4];
    std::snprintf(hex, sizeof hex, " %02x", unsigned(part.raw()[i]));
    out += hex;
  }
  return out;
}
std::string squeezed(const std::string& line) {
  std::istringstream in(line);
  std::string out, word;
  while (in >> word) out += (out.empty() ? "" : " ") + word;
  return out;
}

TEST(FormatPages, WorkedExamplesAreWhatTheCodeWrites) {
  for (const Format& format : formats()) {
    SCOPED_TRACE(format.name);
    auto lines = lines_of(format.name);
    std::string options;
    auto rows = fenced(lines, "matrix", &options), bytes = fenced(lines, "bytes");
    ASSERT_FALSE(rows.empty());
    DType type = *dtype_from_name(options.substr(1, options.find(' ', 1) - 1));
    MaskedMatrix matrix = matrix_of(rows, type);
    FormatParameters parameters{.n = option(options, "n"),
                                .m = option(options, "m"),
                                .inner = option(options, "inner"),
                                .block_rows = option(options, "block_rows"),
                                .block_cols = option(options, "block_cols")};
    EncodedMatrix encoded = format.encode(matrix, parameters);
    ASSERT_EQ(bytes.size(), encoded.parts.size());
    for (const std::string& line : bytes) {
      std::string name = line.substr(0, line.find(' '));
      ASSERT_TRUE(encoded.parts.contains(name)) << name;
      EXPECT_EQ(squeezed(line), part_line(name, encoded.parts[name]));
    }
    format.validate(encoded);
    EXPECT_TRUE(format.decode(encoded) == matrix);
  }
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) out.push_back(squeezed(cell));
  return out;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", std::floor(share * 1000 + 0.5 + 1e-9) / 10);
  return text;
}

struct Measured {
  const Format& format;
  int64_t rows = 1024, cols = 1024;
  std::unique_ptr<Pattern> pattern = parse_pattern("unstructured");

  void set_label(const std::string& label) {
    if (size_t x = label.find(" x "); x != std::string::npos)
      rows = std::atoll(label.c_str()), cols = std::atoll(label.c_str() + x + 3);
    else
      pattern = parse_pattern(label);
  }
  int64_t dense_bytes(DType type) const { return rows * cols * bits_of(type) / 8; }
  int64_t units() const { return pattern->unit_rows(rows) * pattern->unit_cols(cols, cols); }
  int64_t bytes(DType type, int64_t kept_units) const {
    std::vector<float> scores(size_t(rows * cols), 1);  // ties: the first units are kept
    Mask mask = pattern->select({scores.data(), rows, cols, cols}, cols, kept_units, false);
    return format.size_bytes({type, mask, Tensor()}, pattern->format_parameters(cols));
  }
  // The least share of removed units at which the format is smaller than dense.
  double break_even(DType type) const {
    int64_t smaller = 0, not_smaller = units();
    while (not_smaller - smaller > 1) {
      int64_t kept = (smaller + not_smaller) / 2;
      (bytes(type, kept) < dense_bytes(type) ? smaller : not_smaller) = kept;
    }
    return 1 - double(smaller) / double(units());
  }
};

TEST(FormatPages, SizeTablesAreWhatTheCodeSays) {
  for (const Format& format : formats()) {
    auto lines = lines_of(format.name);
    size_t tables = 0;
    for (size_t i = 0; i < lines.size(); i++) {
      bool break_even = lines[i].starts_with("| break-even |"), size = lines[i].starts_with("| size against dense |");
      if (!break_even && !size) continue;
      tables++;
      auto types = cells(lines[i]);
      for (i += 2; i < lines.size() && lines[i].starts_with("|"); i++) {
        auto row = cells(lines[i]);
        Measured measured{format};
        measured.set_label(row[0]);
        for (size_t c = 1; c < row.size(); c++) {
          DType type = *dtype_from_name(types[c]);
          double share = break_even ? measured.break_even(type) : double(measured.bytes(type, 0)) / double(measured.dense_bytes(type));
          EXPECT_EQ(row[c], percent(share)) << format.name << " " << row[0] << " " << types[c];
        }
      }
    }
    EXPECT_EQ(tables, format.name == "dense" ? 0u : 1u) << format.name;
  }
}

}  // namespace
}  // namespace lacuna
