// What the verbs share: registration, the progress bar, tables and numbers for people.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/error.h"
#include "lacuna/progress.h"

namespace lacuna::cli {

// One verb per file; verbs.def lists them.
#define LACUNA_VERB(name) void add_##name(CLI::App& app);
#include "cli/verbs.def"
#undef LACUNA_VERB

// Thrown by a verb whose work was done but whose answer is no (verify found problems): exit status 1, nothing more printed.
struct AnswerIsNo {};

// A verb with its example; `--json` is added to every one of them.
struct Verb {
  Verb(CLI::App& app, const std::string& name, const std::string& help, const std::string& example);
  CLI::App* command;
  std::shared_ptr<bool> json;
};

// Refuses whole numbers below `least`, before anything is read: "--batch must be at least 1, found 0".
CLI::Option* at_least(int64_t least, CLI::Option* option);

// Draws "pruning  42 % [######      ] 13 s left" on a terminal, after the first second; nothing elsewhere.
std::unique_ptr<Progress> progress_bar();

class Table {
 public:
  explicit Table(std::vector<std::string> header);  // a leading '<' aligns a column left, otherwise right
  void add(std::vector<std::string> row);
  void print() const;

 private:
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;
};

// The candidate that a mistyped word meant: fewest letters added, left out or changed, then the longest common beginning. "" if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

std::string bytes_text(int64_t bytes);  // "1.09 MB"
std::string count_text(double count);   // "270 k", "1.24 G"
std::string percent(double share, int digits = 2);
std::string fixed(double value, int digits);
std::string shape_text(const std::vector<int64_t>& shape);                               // "16x3x3x3"
std::map<std::string, int64_t> parse_dimensions(const std::vector<std::string>& items);  // {"sequence=128"}
std::map<std::string, std::string> parse_pairs(const std::vector<std::string>& items, const char* what);

}  // namespace lacuna::cli
