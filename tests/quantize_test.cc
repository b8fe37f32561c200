// Quantization by the program alone, on the real models of ../shared/data.
#include <cmath>

#include "program.h"

namespace lacuna::test {
namespace {

const std::string kResnet20 = (kData / "cifar10/resnet20.onnx").string();
const std::string kCifarTest = (kData / "cifar10/test.tar.gz").string();
const std::string kStories = (kData / "stories260k").string();

double top1(const Result& r) { return r.json()["metrics"]["top1"].get<double>(); }

TEST_F(Program, QuantizedWeightsTakeABytePerCodeAndAScalePerRow) {
  LACUNA_NEEDS(kResnet20);
  Result r = lacuna("quantize " + kResnet20 + " -o " + at("q") + " --json");
  ASSERT_EQ(r.status, 0) << r.err;
  for (auto report = r.json(); auto& w : report["weights"]) {
    EXPECT_EQ(w["encoding"], "s8 per-row f32");
    EXPECT_EQ(w["bytes_after"].get<int64_t>(), w["parameters"].get<int64_t>() + 4 * w["shape"][0].get<int64_t>()) << w["name"];
    EXPECT_LT(w["rounding_error"].get<double>(), 0.02) << w["name"];
  }
  Result verified = lacuna("verify " + kResnet20 + " " + at("q") + " --json");
  EXPECT_EQ(verified.status, 0) << verified.out;
  EXPECT_EQ(verified.json()["quantized"], r.json()["weights"].size());
}

TEST_F(Program, PruningThenQuantizingKeepsTheMaskAndStoresItSparse) {
  LACUNA_NEEDS(kResnet20);
  std::ofstream(at("recipe.yaml")) << "stages:\n- prune: {sparsity: 0.8}\n  quantize: {weights: int8}\n";
  Result both = lacuna("sparsify " + kResnet20 + " --recipe " + at("recipe.yaml") + " -o " + at("both") + " --json");
  ASSERT_EQ(both.status, 0) << both.err;
  ASSERT_EQ(lacuna("prune " + kResnet20 + " -o " + at("pruned") + " --sparsity 0.8").status, 0);
  for (auto report = both.json(); auto& w : report["weights"]) {
    int64_t rows = w["shape"][0], parameters = w["parameters"], zeros = w["zeros"];
    if (zeros == 0 || w["format"] != "bitmask") continue;
    // One bit per weight, rows from a byte on; a byte per kept weight; a scale per row.
    EXPECT_EQ(w["bytes_after"].get<int64_t>(), rows * ((parameters / rows + 7) / 8) + (parameters - zeros) + 4 * rows) << w["name"];
  }
  Result verified = lacuna("verify " + at("pruned") + " " + at("both") + " --json");
  EXPECT_EQ(verified.status, 0) << verified.out;
  EXPECT_GT(verified.json()["masks"].get<int>(), 10);
  EXPECT_EQ(verified.json()["masks_unchanged"], verified.json()["masks"]);
  // In two steps the same bytes of weights come out.
  ASSERT_EQ(lacuna("quantize " + at("pruned") + " -o " + at("two")).status, 0);
  EXPECT_EQ(read_all(at("two") + "/model-00001.safetensors"), read_all(at("both") + "/model-00001.safetensors"));
}

TEST_F(Program, QuantizationOfALanguageModelCostsLittlePerplexity) {
  LACUNA_NEEDS(kStories);
  std::string protocol = " --protocol perplexity --dataset " + kStories + "/stories-test.txt --max-seq-length 256 --max-windows 20 --json";
  auto perplexity = [&](const std::string& model) {
    Result r = lacuna("eval " + model + protocol);
    EXPECT_EQ(r.status, 0) << r.err;
    return r.json()["metrics"]["perplexity"].get<double>();
  };
  double dense = perplexity(kStories);
  ASSERT_EQ(lacuna("quantize " + kStories + " -o " + at("q8")).status, 0);
  EXPECT_NEAR(perplexity(at("q8")), dense, 0.01 * dense);
  ASSERT_EQ(lacuna("quantize " + kStories + " -o " + at("q4") + " --weights int4 --group-size 32").status, 0);
  double int4 = perplexity(at("q4"));
  EXPECT_GT(int4, dense);
  EXPECT_LT(int4, 1.2 * dense);
}

TEST_F(Program, StaticInt8KeepsTheAccuracyOfResnet20) {
  LACUNA_NEEDS(kCifarTest);
  Result q = lacuna("quantize " + kResnet20 + " -o " + at("q") + " --activations int8 --dataset " + kCifarTest + " --json");
  ASSERT_EQ(q.status, 0) << q.err;
  // 20 inputs of products and the two residuals that no convolution reads.
  EXPECT_GE(q.json()["activations"].size(), 20);
  EXPECT_EQ(q.json()["calibration"]["method"], "mse");
  std::string protocol = " --protocol top1 --dataset " + kCifarTest + " --limit 1000 --json";
  double dense = top1(lacuna("eval " + kResnet20 + protocol)), int8 = top1(lacuna("eval " + at("q") + protocol));
  EXPECT_NEAR(int8, dense, 0.01);
  std::string few = " --protocol top1 --dataset " + kCifarTest + " --limit 100 --json";
  EXPECT_NEAR(top1(lacuna("eval " + at("q") + few)), top1(lacuna("eval " + at("q") + few + " --executor reference")), 0.011);
  EXPECT_EQ(lacuna("verify " + kResnet20 + " " + at("q")).status, 0);
  // As a QDQ model the same numbers come back.
  ASSERT_EQ(lacuna("convert " + at("q") + " -o " + at("q.onnx")).status, 0);
  EXPECT_NEAR(top1(lacuna("eval " + at("q.onnx") + protocol)), int8, 0.002);
}

TEST_F(Program, ConvolutionsAreNotRoundedWithoutCalibration) {
  LACUNA_NEEDS(kResnet20);
  Result r = lacuna("quantize " + kResnet20 + " -o " + at("q") + " --activations int8");
  EXPECT_NE(r.status, 0);
  EXPECT_NE(r.err.find("--dataset"), std::string::npos) << r.err;
}

TEST_F(Program, ActivationsRoundedPerTokenCostLittlePerplexity) {
  LACUNA_NEEDS(kStories);
  std::string protocol = " --protocol perplexity --dataset " + kStories + "/stories-test.txt --max-seq-length 256 --max-windows 20 --json";
  ASSERT_EQ(lacuna("quantize " + kStories + " -o " + at("q") + " --activations int8").status, 0);
  double dense = lacuna("eval " + kStories + protocol).json()["metrics"]["perplexity"],
         int8 = lacuna("eval " + at("q") + protocol).json()["metrics"]["perplexity"];
  EXPECT_NEAR(int8, dense, 0.01 * dense);
  // The executors agree: a rounding that falls the other way moves little.
  double reference = lacuna("eval " + at("q") + protocol + " --executor reference").json()["metrics"]["perplexity"];
  EXPECT_NEAR(int8, reference, 2e-3 * reference);
}

TEST_F(Program, QuantizingAgainSaysThatThereIsNothingToDoAndReadsNoImages) {
  LACUNA_NEEDS(kCifarTest);
  ASSERT_EQ(lacuna("quantize " + kResnet20 + " -o " + at("q") + " --activations int8 --nsamples 4 --dataset " + kCifarTest).status, 0);
  Result again = lacuna("quantize " + at("q") + " -o " + at("again") + " --activations int8 --dataset " + at("no-images") + " --json");
  ASSERT_EQ(again.status, 0) << again.err;
  auto report = again.json();
  EXPECT_TRUE(report["weights"].empty());
  EXPECT_FALSE(report.contains("calibration"));
  std::string said = report["needs_attention"].dump();
  EXPECT_NE(said.find("nothing to do for 20 weights, which are coded just as asked"), std::string::npos) << said;
  EXPECT_NE(said.find("nothing to calibrate"), std::string::npos) << said;
  EXPECT_EQ(read_all(at("again") + "/model-00001.safetensors"), read_all(at("q") + "/model-00001.safetensors"));
}

TEST_F(Program, ALayerIsNotRoundedPerTokenTwice) {
  const std::string bert = (kFixtures / "families/bert-pooler").string();
  ASSERT_EQ(lacuna("quantize " + bert + " -o " + at("q") + " --activations int8").status, 0);
  auto report = lacuna("quantize " + at("q") + " -o " + at("again") + " --activations int8 --json").json();
  EXPECT_FALSE(report.contains("activations"));
  EXPECT_NE(report["needs_attention"].dump().find("layers, which are rounded already"), std::string::npos) << report["needs_attention"];
  EXPECT_EQ(lacuna("verify " + at("q") + " " + at("again")).status, 0);
}

TEST_F(Program, QuantizeSaysWhatStayedInFloatsAndHowToRoundIt) {
  const std::string bert = (kFixtures / "families/bert-pooler").string();
  int64_t embeddings = 0;
  std::string largest;
  auto summary = lacuna("inspect " + bert + " --json").json();
  for (auto& w : summary["weights"])
    if (w["op"] == "Embedding") {
      embeddings += w["stored_bytes"].get<int64_t>();
      if (w["name"].get<std::string>().find("word_embeddings") != std::string::npos) largest = w["name"];
    }
  auto report = lacuna("quantize " + bert + " -o " + at("q") + " --json").json();
  auto& kept = report["kept_floats"][0];
  EXPECT_EQ(kept["why"], "embedding");
  EXPECT_EQ(kept["bytes"].get<int64_t>(), embeddings);
  EXPECT_EQ(kept["largest"], largest);
  EXPECT_TRUE(kept["can_be_included"].get<bool>());
  Result included = lacuna("quantize " + bert + " -o " + at("all") + " --include " + largest);
  ASSERT_EQ(included.status, 0) << included.err;
  EXPECT_NE(included.out.find("still floats:\n"), std::string::npos) << included.out;
  EXPECT_EQ(included.out.find("(the largest: " + largest), std::string::npos) << included.out;
  EXPECT_FALSE(lacuna("prune " + bert + " -o " + at("p") + " --sparsity 0.5 --json").json().contains("kept_floats"));
}

TEST_F(Program, QuantizeRefusesInWordsAndWritesNothing) {
  LACUNA_NEEDS(kResnet20);
  auto refused = [&](const std::string& flags, const std::string& why) {
    Result r = lacuna("quantize " + kResnet20 + " -o " + at("q") + " " + flags);
    EXPECT_NE(r.status, 0) << flags;
    EXPECT_NE(r.err.find(why), std::string::npos) << r.err;
    EXPECT_FALSE(std::filesystem::exists(at("q")));
  };
  refused("--weights int3", "known: int8, int4");
  refused("--weights int4 --group-size 20", "multiple of 32");
  refused("--targets nothing", "matches no weight");
  refused("--activations int16", "known: none, int8");
}

}  // namespace
}  // namespace lacuna::test
