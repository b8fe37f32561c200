// Running a model: text from a prompt, or arrays in and arrays out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lacuna {

struct GenerateOptions {
  std::string prompt;
  int64_t max_tokens = 128;
  double temperature = 0;  // 0: greedy
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
  double repetition_penalty = 1;
  uint64_t seed = 0;
  std::string executor = "runtime";
  bool ignore_eos = false;
};

struct GenerateResult {
  std::string text;  // without the prompt
  int64_t prompt_tokens = 0, new_tokens = 0;
  double load_seconds = 0;  // reading the model and its tokenizer
  double pack_seconds = 0;  // choosing kernels and packing weights for them
  double prefill_seconds = 0, decode_seconds = 0;
  std::string stopped_by;  // "max_tokens" | "end of sequence" | "context full"
};

// `on_text` receives the text as it is made; return false to stop.
GenerateResult generate(const std::filesystem::path& model, const GenerateOptions& options,
                        const std::function<bool(const std::string& text)>& on_text = {});
std::string to_json(const GenerateResult& result);

struct RunArraysOptions {
  std::map<std::string, std::filesystem::path> inputs;  // name -> .npy
  std::filesystem::path outputs;                        // directory: NAME.npy each ('/' and ':' in names become '_')
  std::string executor = "runtime";
  bool force = false;
};

struct RunArraysResult {
  struct Output {
    std::string name, file, dtype;
    std::vector<int64_t> shape;
  };
  std::vector<Output> outputs;
  double load_seconds = 0, pack_seconds = 0;  // as of GenerateResult
  double seconds = 0;                         // of the run
};
RunArraysResult run_arrays(const std::filesystem::path& model, const RunArraysOptions& options);
std::string to_json(const RunArraysResult& result);

}  // namespace lacuna
