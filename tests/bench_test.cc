// `bench MODEL` and the table of measurements behind it, by the program alone.
#include <algorithm>

#include "program.h"

namespace lacuna::test {
namespace {

const std::string kResnet20 = (kData / "cifar10/resnet20.onnx").string();
const std::string kLlama = (kFixtures / "models/llama").string();

class BenchProgram : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(setenv("XDG_CACHE_HOME", at("cache").c_str(), 1), 0);
  }
  nlohmann::json bench(const std::string& arguments) const {
    Result r = lacuna("bench " + arguments + " --runs 2 --prompt-tokens 12 --new-tokens 2 --json");
    EXPECT_EQ(r.status, 0) << arguments << ": " << r.err;
    return r.status == 0 ? r.json() : nlohmann::json();
  }
  std::string plan_file() const {
    for (auto& entry : std::filesystem::directory_iterator(at("cache/lacuna"))) return entry.path();
    return "";
  }
  nlohmann::json plan() const { return nlohmann::json::parse(read_all(plan_file())); }
  void rewrite(const nlohmann::json& plan) const { std::ofstream(plan_file()) << plan; }
};

std::vector<std::string> names_of(const nlohmann::json& list, const char* key) {
  std::vector<std::string> names;
  for (auto& entry : list)
    if (std::find(names.begin(), names.end(), entry.at(key)) == names.end()) names.push_back(entry.at(key));
  return names;
}

bool has_avx2() { return std::ifstream("/proc/cpuinfo") && read_all("/proc/cpuinfo").find(" avx2 ") != std::string::npos; }

TEST_F(BenchProgram, PrecisionsStandSideBySideWithWhatTheyCost) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  auto json = bench(kLlama + " --precision f32 bf16 int8 --threads 1");
  ASSERT_EQ(names_of(json["rows"], "precision"), (std::vector<std::string>{"f32", "bf16", "int8"}));
  EXPECT_EQ(json["rows"].size(), 6u);  // prefill and decode
  for (auto& row : json["rows"]) {
    EXPECT_GT(row["median_ms"].get<double>(), 0) << row;
    EXPECT_TRUE(row["same_plan"].get<bool>()) << row;  // no weight has zeros
    EXPECT_TRUE(row["speedup"].is_null()) << row;
    EXPECT_GT(row["speedup_over_f32"].get<double>(), 0) << row;
  }
  for (auto& precision : json["precisions"]) {
    if (precision["name"] == "f32") {
      EXPECT_TRUE(precision["output_difference"].is_null());
      continue;
    }
    EXPECT_GT(precision["output_difference"].get<double>(), 0) << precision;
    EXPECT_LT(precision["output_difference"].get<double>(), 0.1) << precision;
  }
}

TEST_F(BenchProgram, RowsSayHowManyTokensRan) {
  auto rows = bench(kLlama + " --precision f32 --threads 1")["rows"];
  for (auto& row : rows) {
    bool decode = row["phase"] == "decode";
    EXPECT_EQ(row["tokens"], decode ? 2 : 12) << row;
    EXPECT_EQ(row["past_tokens"], decode ? 12 : 0) << row;
  }
  const std::string bert = (kFixtures / "families/bert-pooler").string();
  EXPECT_EQ(bench(bert + " --precision f32 --threads 1")["rows"][0]["tokens"], 12);
  auto seven = bench(bert + " --precision f32 --threads 1 --dim tokens=7");
  EXPECT_EQ(seven["rows"][0]["tokens"], 7);
  EXPECT_EQ(seven["inputs"]["input_ids"], nlohmann::json({1, 7}));
  Result words = lacuna("bench " + bert + " --precision f32 --runs 1 --prompt-tokens 12");
  EXPECT_NE(words.out.find("input_ids 1x12"), std::string::npos) << words.out;
  EXPECT_NE(words.out.find("tokens: of each sequence (--prompt-tokens, where"), std::string::npos) << words.out;
  EXPECT_NE(words.out.find("same plan: both sides run the same kernels"), std::string::npos) << words.out;
}

TEST_F(BenchProgram, FewerBitsPackSmaller) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  auto json = bench(kLlama + " --precision f32 int8 --threads 1");
  ASSERT_EQ(json["precisions"].size(), 2u);
  EXPECT_LT(2 * json["precisions"][1]["packed_bytes"].get<int64_t>(), json["precisions"][0]["packed_bytes"].get<int64_t>());
}

TEST_F(BenchProgram, ConvolutionsRunInIntegersWithScalesOfTheSamples) {
  LACUNA_NEEDS(kResnet20);
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  auto json = bench(kResnet20 + " --threads 1 --precision int8 --layers");
  ASSERT_EQ(json["precisions"].size(), 1u);
  EXPECT_GT(json["precisions"][0]["share"].get<double>(), 0.9);
  EXPECT_GT(json["precisions"][0]["output_difference"].get<double>(), 0);
  EXPECT_LT(json["precisions"][0]["output_difference"].get<double>(), 0.2);
  int integers = 0;
  for (auto& layer : json["layers"]) integers += layer["op"] == "conv" && layer["problem"].get<std::string>().starts_with("conv s8");
  EXPECT_GE(integers, 18);
}

// No kernel multiplies bf16 in convolutions: the row would be one of f32 under another name.
TEST_F(BenchProgram, APrecisionThatMostOfTheModelCannotRunInIsLeftOutAndNamed) {
  LACUNA_NEEDS(kResnet20);
  auto all = bench(kResnet20 + " --threads 1");
  auto names = names_of(all["rows"], "precision");
  EXPECT_EQ(std::count(names.begin(), names.end(), "bf16"), 0);
  EXPECT_EQ(names[0], "f32");
  EXPECT_NE(all["needs_attention"].dump().find("bf16: only "), std::string::npos) << all["needs_attention"];
  auto asked = bench(kResnet20 + " --threads 1 --precision bf16");
  EXPECT_EQ(names_of(asked["rows"], "precision"), std::vector<std::string>{"bf16"});
  EXPECT_LT(asked["precisions"][0]["share"].get<double>(), 0.1);
  EXPECT_NE(asked["needs_attention"].dump().find("bf16: only "), std::string::npos) << asked["needs_attention"];
}

TEST_F(BenchProgram, TheArithmeticThatAModelStatesIsItsOwn) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  auto json = bench((kFixtures / "models/llama-q4_0.gguf").string() + " --threads 1");
  EXPECT_EQ(names_of(json["rows"], "precision"), (std::vector<std::string>{"4-bit weights", "f32", "bf16", "int8"}));
  EXPECT_TRUE(json["precisions"][0]["own"].get<bool>());
  EXPECT_LT(json["precisions"][0]["output_difference"].get<double>(), 1e-4);  // codes against floats are exact
  EXPECT_EQ(names_of(bench(kLlama + " --precision own --threads 1")["rows"], "precision"), std::vector<std::string>{"f16 weights"});
  ASSERT_EQ(lacuna("quantize " + kLlama + " -o " + at("q") + " --weights int8 --activations int8").status, 0);
  auto quantized = bench(at("q") + " --threads 1 --precision int8 f32");
  for (auto& precision : quantized["precisions"]) EXPECT_EQ(precision["own"].get<bool>(), precision["name"] == "int8");
  Result unknown = lacuna("bench " + kLlama + " --precision f64");
  EXPECT_NE(unknown.status, 0);
  EXPECT_NE(unknown.err.find("unknown precision 'f64'; known: own, f32, bf16, int8"), std::string::npos) << unknown.err;
}

// Its own arithmetic then differs from f32 by nothing, which must not be read as rounding that costs nothing.
TEST_F(BenchProgram, RoundingsThatAreNodesOfTheModelAreNamedBesideFloats) {
  LACUNA_NEEDS(kResnet20);
  ASSERT_EQ(
      lacuna("quantize " + kResnet20 + " -o " + at("q") + " --activations int8 --nsamples 4 --dataset " + (kData / "cifar10/test.tar.gz").string())
          .status,
      0);
  ASSERT_EQ(lacuna("convert " + at("q") + " -o " + at("q.onnx")).status, 0);
  const char* remark = "f32: 22 roundings (quantize nodes) are part of the model and stay";
  std::string both = bench(at("q.onnx") + " --precision f32 int8 --threads 1")["needs_attention"].dump();
  EXPECT_NE(both.find(remark), std::string::npos) << both;
  EXPECT_EQ(bench(at("q.onnx") + " --precision own --threads 1")["needs_attention"].dump().find("roundings"), std::string::npos);
}

TEST_F(BenchProgram, LayersSayHowTheirWeightIsPackedAndHowFarTheyAreFromTheFloor) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  ASSERT_EQ(lacuna("prune " + kLlama + " -o " + at("small") + " --sparsity 0.9").status, 0);
  auto json = bench(at("small") + " --precision f32 --threads 1 --layers");
  int products = 0;
  for (auto& layer : json["layers"]) {
    EXPECT_EQ(layer["phase"], "decode");
    if (layer["problem"] == "") continue;
    products++;
    EXPECT_NE(layer["format"], "") << layer;
    EXPECT_GT(layer["packed_bytes"].get<int64_t>(), 0) << layer;
    EXPECT_GT(layer["floor_us"].get<double>(), 0) << layer;
    EXPECT_NEAR(layer["floor_share"].get<double>() * layer["microseconds"].get<double>(), layer["floor_us"].get<double>(), 1e-3);
    EXPECT_NE(layer["problem"].get<std::string>().find(" n=1 "), std::string::npos) << layer;
  }
  EXPECT_GE(products, 8);
  bool same = std::ranges::all_of(
      json["layers"], [](auto& layer) { return layer["kernel"] == layer["versus_kernel"] && layer["packed_bytes"] == layer["versus_packed_bytes"]; });
  for (auto& row : json["rows"]) {
    EXPECT_EQ(row["same_plan"].get<bool>(), row["speedup"].is_null()) << row;
    if (row["phase"] == "decode") {
      EXPECT_EQ(row["same_plan"].get<bool>(), same) << row;
    }
  }
  Result table = lacuna("bench " + at("small") + " --precision f32 --layers --runs 1 --prompt-tokens 4 --new-tokens 1");
  ASSERT_EQ(table.status, 0) << table.err;
  std::istringstream lines(table.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 150u) << line;
}

TEST_F(BenchProgram, AdviceCoversConvolutionsBeforeBatchNorms) {
  const std::string model = (kData / "cifar10/resnet20-bn.onnx").string();
  LACUNA_NEEDS(model);
  Result r = lacuna("advise " + model + " --threads 1 --precision f32 --pattern unstructured --sparsity 0.9 --json");
  ASSERT_EQ(r.status, 0) << r.err;
  auto weights = names_of(r.json()["layers"], "weight");
  EXPECT_EQ(weights.size(), 19u);  // all but the head
  EXPECT_EQ(weights[0], "conv1.weight");
}

TEST_F(BenchProgram, MeasurementsOfOtherKernelsAreForgotten) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  std::string command = kLlama + " --precision f32 --threads 1";
  bench(command);
  auto table = plan();
  ASSERT_FALSE(table["kernels"].empty());
  std::string build = table["build"];
  table["build"] = "another";
  table["kernels"] = {
      {"spmm of a kernel that is gone", {{"dense", "x"}, {"sparse", ""}, {"dense_us", 1}, {"sparse_us", 0}, {"at_seconds", 0}, {"confirmed", true}}}};
  rewrite(table);
  bench(command);
  table = plan();
  EXPECT_EQ(table["build"], build);
  EXPECT_FALSE(table["kernels"].contains("spmm of a kernel that is gone"));
  EXPECT_FALSE(table["kernels"].empty());
}

// A table made while something else had the machine says that everything is slow, and its choices are chance.
TEST_F(BenchProgram, WhatWasMeasuredOnABusyMachineIsMeasuredAnew) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  std::string command = kLlama + " --precision f32 --threads 1";
  bench(command);
  auto table = plan();
  ASSERT_FALSE(table["kernels"].empty());
  constexpr double kBusy = 1e7;
  for (auto& [key, entry] : table["kernels"].items()) {
    EXPECT_FALSE(entry["confirmed"].get<bool>()) << key;
    for (const char* us : {"dense_us", "sparse_us"})
      if (entry[us] > 0) entry[us] = kBusy;
    entry["at_seconds"] = 0;
  }
  rewrite(table);
  bench(command);
  auto after = plan()["kernels"];
  for (auto& [key, entry] : after.items()) EXPECT_LT(entry["dense_us"], kBusy) << key;
}

// What is faster than it can be now was measured on a quieter machine: it stays, and is not held against the next one either.
TEST_F(BenchProgram, ABusyMachineDoesNotSpoilWhatWasMeasuredBefore) {
  if (!has_avx2()) GTEST_SKIP() << "this CPU has no avx2";
  std::string command = kLlama + " --precision f32 --threads 1";
  bench(command);
  auto table = plan();
  for (auto& [key, entry] : table["kernels"].items()) {
    for (const char* us : {"dense_us", "sparse_us"})
      if (entry[us] > 0) entry[us] = entry[us].get<double>() / 1e6;
    entry["at_seconds"] = 0;
  }
  rewrite(table);
  bench(command);
  auto after = plan()["kernels"];
  for (auto& [key, entry] : after.items()) {
    EXPECT_EQ(entry["dense_us"], table["kernels"][key]["dense_us"]) << key;
    EXPECT_FALSE(entry["confirmed"].get<bool>()) << key;
  }
}

}  // namespace
}  // namespace lacuna::test
