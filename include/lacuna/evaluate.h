// Quality by named protocol: the metric, and everything that determines it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct EvaluateOptions {
  std::string protocol;  // top1 | perplexity | similarity
  std::filesystem::path dataset;
  std::string executor = "runtime";  // runtime | reference
  int64_t batch = 0;                 // 0: the protocol's own
  int64_t limit = 0;                 // images, pairs; 0: all
  // perplexity
  int64_t max_seq_length = 2048;  // window, capped to what the model takes
  int64_t max_windows = 0;        // 0: all whole windows
  // top1
  int64_t resize = 0, crop = 0;        // 0: from the model's input
  std::vector<float> mean, deviation;  // empty: ImageNet's
};

struct EvaluateReport {
  std::string protocol, model, dataset;
  std::map<std::string, double> metrics;        // "top1", "top5", "perplexity", "spearman", ...
  std::map<std::string, std::string> settings;  // every choice that determines the metric, hashes included
  std::string metric;                           // the main one
  std::vector<std::string> needs_attention;     // what casts doubt on it
  int64_t items = 0;
  double seconds = 0;
};

EvaluateReport evaluate(const std::filesystem::path& model, const EvaluateOptions& options, Progress* progress = nullptr);
std::string to_json(const EvaluateReport& report);

struct ProtocolChoice {
  std::string name, help;
};
std::vector<ProtocolChoice> protocols();

}  // namespace lacuna
