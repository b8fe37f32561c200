// The whole thread through the house, by the program alone, on the real models of ../shared/data.
#include "program.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace lacuna::test {
namespace {

const std::string kResnet20 = (kData / "cifar10/resnet20.onnx").string();
const std::string kCifarTest = (kData / "cifar10/test.tar.gz").string();
const std::string kStories = (kData / "stories260k").string();

TEST_F(Program, HelpOfEveryVerbHasAnExample) {
  for (std::string verb : {"inspect", "prune", "quantize", "sparsify", "verify", "eval", "run", "bench", "advise", "convert", "demo"}) {
    Result r = lacuna(verb + " --help");
    EXPECT_EQ(r.status, 0) << verb;
    EXPECT_NE(r.out.find("Example"), std::string::npos) << verb;
  }
  EXPECT_NE(lacuna("").status, 0);
  EXPECT_NE(lacuna("frobnicate").status, 0);
}

TEST_F(Program, BenchTimesASingleProblemBesideDense) {
  Result r = lacuna("bench --kernel 'spmm s8 unstructured m=96 k=128 n=16 sparsity=0.9' --threads 1 --runs 3 --json");
  ASSERT_EQ(r.status, 0) << r.err;
  auto json = r.json();
  for (const char* key : {"median_us", "dense_median_us", "speedup", "floor_share"}) EXPECT_GT(json.at(key).get<double>(), 0) << key;
  for (const char* key : {"dense_library", "isa", "kernel"}) EXPECT_NE(json.at(key).get<std::string>(), "") << key;
  EXPECT_EQ(json.at("threads"), 1);
  EXPECT_EQ(json.at("max_error"), 0);  // integers are exact
  Result table = lacuna("bench --kernel 'spmm f32 unstructured m={8,16} k=32 n=16 sparsity=0.5' --threads 1 2 --runs 1 --json");
  ASSERT_EQ(table.status, 0) << table.err;
  EXPECT_EQ(table.json().size(), 4u);
}

TEST_F(Program, BenchTakesTheMaskOfAFile) {
  std::ofstream(at("mask.smtx")) << "2, 32, 3\n0 1 3\n5 0 31\n";
  Result r = lacuna("bench --kernel 'spmm f32 unstructured n=8 pattern=" + at("mask.smtx") + "' --runs 1 --json");
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NEAR(r.json()["sparsity"].get<double>(), 61.0 / 64, 1e-9);
  Result missing = lacuna("bench --kernel 'spmm f32 unstructured n=8 pattern=" + at("none.smtx") + "'");
  EXPECT_NE(missing.status, 0);
  EXPECT_NE(missing.err.find("none.smtx"), std::string::npos);
}

TEST_F(Program, BenchNamesTheWordOfAProblemThatItCannotRead) {
  Result r = lacuna("bench --kernel 'spmm s8 unstructured m=96 k=128 tokens=3'");
  EXPECT_NE(r.status, 0);
  EXPECT_NE(r.err.find("unknown key 'tokens'; known: "), std::string::npos) << r.err;
  EXPECT_NE(lacuna("bench").err.find("give a MODEL, --kernel PROBLEM or --machine"), std::string::npos);
  EXPECT_NE(lacuna("bench model.onnx --machine").status, 0);
}

TEST_F(Program, OptionsOfAnotherUseOfTheVerbAreRefused) {
  const std::string kernel = "bench --kernel 'spmm f32 dense m=8 k=8 n=8'";
  for (auto [command, option] :
       std::vector<std::pair<std::string, std::string>>{{kernel + " --layers", "--layers"},
                                                        {kernel + " --batch 2", "--batch"},
                                                        {kernel + " --precision int8", "--precision"},
                                                        {kernel + " --dim n=3", "--dim"},
                                                        {"bench --machine --threads 1", "--threads"},
                                                        {"bench --machine --new-tokens 3", "--new-tokens"},
                                                        {"run m.onnx --inputs x=x.npy --outputs o --temperature 1", "--temperature"},
                                                        {"run m.onnx --prompt a --outputs o", "--outputs"},
                                                        {"run m.onnx --prompt a --force", "--force"}}) {
    Result r = lacuna(command);
    EXPECT_EQ(r.status, 2) << command;
    EXPECT_NE(r.err.find(option), std::string::npos) << command << ": " << r.err;
    EXPECT_NE(r.err.find("excludes"), std::string::npos) << command << ": " << r.err;
  }
}

TEST_F(Program, BenchMeasuresTheMachine) {
  Result r = lacuna("bench --machine --json");
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_GT(r.json()["read_one_gb_s"].get<double>(), 0);
  EXPECT_GT(r.json()["f32_one_gop_s"].get<double>(), 0);
}

TEST_F(Program, AdviseSaysFromWhichSparsityEachLayerGains) {
  LACUNA_NEEDS(kResnet20);
  ASSERT_EQ(setenv("XDG_CACHE_HOME", at("cache").c_str(), 1), 0);
  std::string command = "advise " + kResnet20 + " --threads 1 --pattern unstructured 4:16 --precision f32 --sparsity 0.5 0.9 --json";
  Result r = lacuna(command);
  ASSERT_EQ(r.status, 0) << r.err;
  auto json = r.json();
  EXPECT_EQ(json["layers"].size(), 19u);  // the convolutions; the classifier is not pruned by default
  for (auto& layer : json["layers"]) {
    EXPECT_GT(layer["dense_microseconds"].get<double>(), 0) << layer;
    for (auto& curve : layer["curves"])
      for (auto& point : curve["points"])
        EXPECT_NEAR(point["speedup"].get<double>() * point["microseconds"].get<double>(), point["dense_microseconds"].get<double>(), 1e-3);
  }
  ASSERT_FALSE(json["totals"].empty());
  // The second time it is out of the table; --refresh measures again.
  Result again = lacuna(command);
  EXPECT_EQ(again.out, r.out);
  EXPECT_NE(lacuna(command + " --refresh").out, r.out);
  EXPECT_NE(lacuna("advise " + kResnet20 + " --pattern stripes").status, 0);
  unsetenv("XDG_CACHE_HOME");
}

TEST_F(Program, InspectCountsTheParametersOfResnet20) {
  LACUNA_NEEDS(kResnet20);
  Result r = lacuna("inspect " + kResnet20 + " --json --weights");
  ASSERT_EQ(r.status, 0) << r.err;
  auto json = r.json();
  // 0.27 M: 268,336 in 3x3 convolutions and the classifier, plus 698 folded biases.
  int64_t matrices = 0;
  for (auto& w : json["weights"])
    if (w["rows"].get<int64_t>()) matrices += w["parameters"].get<int64_t>();
  EXPECT_EQ(matrices, 16 * 3 * 9 + 6 * 16 * 16 * 9 + 32 * 16 * 9 + 5 * 32 * 32 * 9 + 64 * 32 * 9 + 5 * 64 * 64 * 9 + 640);
  EXPECT_EQ(json["inputs"][0]["name"], "input");
  // 40.6 M multiply-adds (He et al. 2016, table 6, counts 0.04 G).
  EXPECT_NEAR(json["operations"].get<double>(), 2 * 40.55e6, 2 * 0.1e6);
}

TEST_F(Program, PrunedResnet20IsSmallerVerifiedAndStillAccurate) {
  LACUNA_NEEDS(kResnet20);
  Result pruned = lacuna("prune " + kResnet20 + " -o " + at("small") + " --criterion magnitude --sparsity 0.5 --json");
  ASSERT_EQ(pruned.status, 0) << pruned.err;
  auto report = pruned.json();
  double claimed = report["claimed_parameters"], zeros = report["claimed_zeros"];
  EXPECT_LE(std::abs(zeros - 0.5 * claimed), 1);
  EXPECT_LT(report["bytes_after"].get<double>(), 0.6 * report["bytes_before"].get<double>());

  Result verified = lacuna("verify " + kResnet20 + " " + at("small") + " --json");
  EXPECT_EQ(verified.status, 0) << verified.out << verified.err;
  EXPECT_EQ(verified.json()["changed_outside_mask"], 0);
  EXPECT_GT(verified.json()["max_output_difference"].get<double>(), 0);

  LACUNA_NEEDS(kCifarTest);
  Result accuracy = lacuna("eval " + at("small") + " --protocol top1 --dataset " + kCifarTest + " --limit 2000 --json");
  ASSERT_EQ(accuracy.status, 0) << accuracy.err;
  EXPECT_NEAR(accuracy.json()["metrics"]["top1"].get<double>(), 0.814, 0.03);  // 81.4 % on all 10,000
}

TEST_F(Program, VerifyOfAnotherModelGivesOneReasonInsteadOfAllNames) {
  LACUNA_NEEDS(kResnet20);
  Result r = lacuna("verify " + kStories + " " + kResnet20 + " --json");
  EXPECT_EQ(r.status, 1);
  ASSERT_EQ(r.json()["problems"].size(), 1u) << r.out;
  EXPECT_NE(r.out.find("no name of a weight is in both models"), std::string::npos) << r.out;
}

TEST_F(Program, OneFlippedBitAnywhereIsCaught) {
  LACUNA_NEEDS(kResnet20);
  ASSERT_EQ(lacuna("prune " + kResnet20 + " -o " + at("small") + " --pattern 2:4").status, 0);
  ASSERT_EQ(lacuna("verify " + at("small")).status, 0);
  std::mt19937 random(0);
  for (auto& entry : std::filesystem::recursive_directory_iterator(at("small"))) {
    if (!entry.is_regular_file()) continue;
    std::string bytes = read_all(entry.path());
    for (int i = 0; i < 4; i++) {
      size_t bit = random() % (bytes.size() * 8);
      std::string flipped = bytes;
      flipped[bit / 8] = char(flipped[bit / 8] ^ (1 << (bit % 8)));
      std::ofstream(entry.path(), std::ios::binary) << flipped;
      Result r = lacuna("verify " + at("small") + " --no-run");
      EXPECT_EQ(r.status, 1) << entry.path() << " bit " << bit << "\n" << r.out << r.err;
    }
    std::ofstream(entry.path(), std::ios::binary) << bytes;
  }
  EXPECT_EQ(lacuna("verify " + at("small")).status, 0);
}

TEST_F(Program, BothExecutorsAgreeOnResnet20) {
  LACUNA_NEEDS(kResnet20);
  LACUNA_NEEDS(kCifarTest);
  std::string metric[2];
  for (int i = 0; i < 2; i++) {
    Result r =
        lacuna("eval " + kResnet20 + " --protocol top1 --dataset " + kCifarTest + " --limit 200 --json --executor " + (i ? "reference" : "runtime"));
    ASSERT_EQ(r.status, 0) << r.err;
    metric[i] = r.json()["metrics"].dump();
  }
  EXPECT_EQ(metric[0], metric[1]);
}

TEST_F(Program, ConvertGivesTheSameModelBackAsOnnx) {
  LACUNA_NEEDS(kResnet20);
  ASSERT_EQ(lacuna("prune " + kResnet20 + " -o " + at("small") + " --sparsity 0.7").status, 0);
  Result converted = lacuna("convert " + at("small") + " -o " + at("out.onnx"));
  ASSERT_EQ(converted.status, 0) << converted.err;
  Result verified = lacuna("verify " + at("small") + " " + at("out.onnx") + " --json");
  EXPECT_EQ(verified.status, 0) << verified.out << verified.err;
  EXPECT_LT(verified.json()["relative_output_difference"].get<double>(), 1e-5);
}

TEST_F(Program, WhatAnotherToolPrunedIsStoredSparse) {
  LACUNA_NEEDS(kResnet20);
  ASSERT_EQ(lacuna("prune " + kResnet20 + " -o " + at("small") + " --sparsity 0.7").status, 0);
  ASSERT_EQ(lacuna("convert " + at("small") + " -o " + at("zeros.onnx")).status, 0);
  Result r = lacuna("convert " + at("zeros.onnx") + " -o " + at("packed") + " --to lacuna --json");
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.json()["zeros"].get<int64_t>(),
            lacuna("convert " + at("small") + " -o " + at("again.onnx") + " --json").json()["zeros"].get<int64_t>());
  EXPECT_LT(std::filesystem::file_size(at("packed") + "/model-00001.safetensors"), std::filesystem::file_size(at("zeros.onnx")) / 2);
  EXPECT_EQ(lacuna("verify " + at("zeros.onnx") + " " + at("packed")).status, 0);
}

TEST_F(Program, TheInputIsNeverReplacedByTheOutput) {
  LACUNA_NEEDS(kResnet20);
  std::filesystem::copy_file(kResnet20, at("model.onnx"));
  std::string before = read_all(at("model.onnx"));
  for (std::string verb : {"prune --sparsity 0.5 ", "convert "}) {
    Result r = lacuna(verb + at("model.onnx") + " -o " + at("model.onnx") + " --force");
    EXPECT_EQ(r.status, 1);
    EXPECT_NE(r.err.find("is or holds the model that is read"), std::string::npos) << r.err;
  }
  EXPECT_EQ(read_all(at("model.onnx")), before);
}

TEST_F(Program, StoriesWritesWhatTheModelWrites) {
  LACUNA_NEEDS(kStories);
  for (std::string executor : {"runtime", "reference"}) {
    Result r = lacuna("run " + kStories + " --prompt 'Once upon a time' --max-tokens 100 --json --executor " + executor);
    ASSERT_EQ(r.status, 0) << r.err;
    std::string text = r.json()["text"];
    EXPECT_TRUE(text.starts_with(", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."))
        << executor << ": " << text;
  }
}

TEST_F(Program, TracesWhatWasChosenAndWhatRefusedUnderTheForcedIsa) {
  LACUNA_NEEDS(kStories);
  setenv("LACUNA_ISA", "avx2", 1);
  setenv("LACUNA_TRACE", "dispatch", 1);
  setenv("XDG_CACHE_HOME", at("cache").c_str(), 1);
  Result r = lacuna("run " + kStories + " --prompt 'Once upon a time' --max-tokens 2");
  for (const char* name : {"LACUNA_ISA", "LACUNA_TRACE", "XDG_CACHE_HOME"}) unsetenv(name);
  ASSERT_EQ(r.status, 0) << r.err;
  // To the end of the line: a CPU may have avx512 and lack avx512_vbmi2.
  const bool has = r.err.find("refused: LACUNA_ISA leaves out avx512\n") != std::string::npos,
             lacks = r.err.find("refused: this CPU has no avx512\n") != std::string::npos;
  EXPECT_NE(has, lacks) << r.err;
  std::istringstream lines(r.err);
  int chosen = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" chosen") == std::string::npos) continue;
    chosen++;
    EXPECT_EQ(line.find("avx512"), std::string::npos) << line;
  }
  EXPECT_GT(chosen, 5 * 7) << "each of seven weights in five layers, once at least";
}

TEST_F(Program, StoriesPerplexityIsThePublishedOne) {
  LACUNA_NEEDS(kStories);
  Result r =
      lacuna("eval " + kStories + " --protocol perplexity --dataset " + kStories + "/stories-test.txt --max-seq-length 256 --max-windows 150 --json");
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NEAR(r.json()["metrics"]["perplexity"].get<double>(), 3.816, 0.002);
}

TEST_F(Program, SampledTextDependsOnTheSeedAlone) {
  LACUNA_NEEDS(kStories);
  auto text = [&](int seed) {
    return lacuna("run " + kStories + " --prompt 'One day' --max-tokens 40 --temperature 1 --seed " + std::to_string(seed)).out;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST_F(Program, TwoFourOnStoriesLeavesIgnoredWeightsDense) {
  LACUNA_NEEDS(kStories);
  Result r = lacuna("prune " + kStories + " -o " + at("small") + " --pattern 2:4 --ignore 're:.*down_proj' --json");
  ASSERT_EQ(r.status, 0) << r.err;
  for (auto report = r.json(); auto& w : report["weights"]) {
    EXPECT_EQ(w["name"].get<std::string>().find("down_proj"), std::string::npos);
    EXPECT_EQ(w["pattern"], "2:4");
    EXPECT_EQ(w["zeros"].get<int64_t>() * 2, w["parameters"].get<int64_t>());
  }
  EXPECT_EQ(r.json()["weights"].size(), 5u * 6);
  EXPECT_EQ(lacuna("verify " + kStories + " " + at("small")).status, 0);
  Result text = lacuna("run " + at("small") + " --prompt 'Once upon a time' --max-tokens 5 --json");
  EXPECT_EQ(text.status, 0) << text.err;
}

TEST_F(Program, MagnitudeOnStoriesGivesThePublishedPerplexities) {
  LACUNA_NEEDS(kStories);
  // ../shared/data/README.md: the published Wanda code. Its unstructured threshold is itself a weight and goes too, so each tensor loses
  // one weight more than half.
  std::ofstream(at("half_and_one.yaml")) << "prune:\n"
                                            "  - {sparsity: 0.500244140625, targets: ['re:.*(q|o)_proj.*']}\n"           // 2049 of 4096
                                            "  - {sparsity: 0.50048828125, targets: ['re:.*(k|v)_proj.*']}\n"            // 1025 of 2048
                                            "  - {sparsity: 0.50009084302, targets: ['re:.*(gate|up|down)_proj.*']}\n";  // 5505 of 11008
  struct Case {
    std::string command;
    double perplexity;
  };
  for (auto& c : {Case{"sparsify --recipe " + at("half_and_one.yaml"), 40.40}, Case{"prune --pattern 2:4", 121.6}}) {
    ASSERT_EQ(lacuna(c.command + " " + kStories + " -o " + at("small") + " --force").status, 0);
    Result r = lacuna("eval " + at("small") + " --protocol perplexity --dataset " + kStories +
                      "/stories-test.txt --max-seq-length 256 --max-windows 150 --json");
    ASSERT_EQ(r.status, 0) << r.err;
    EXPECT_NEAR(r.json()["metrics"]["perplexity"].get<double>(), c.perplexity, 0.001 * c.perplexity);
  }
}

TEST_F(Program, TheSameRequestWritesTheSameBytes) {
  LACUNA_NEEDS(kStories);
  ASSERT_EQ(lacuna("prune " + kStories + " -o " + at("a") + " --sparsity 0.6 --allocation global").status, 0);
  std::filesystem::create_directory(at("elsewhere"));
  std::filesystem::copy(kStories, at("elsewhere/stories260k"));
  ASSERT_EQ(lacuna("prune " + at("elsewhere/stories260k") + " -o " + at("b") + " --sparsity 0.6 --allocation global").status, 0);
  for (auto& entry : std::filesystem::recursive_directory_iterator(at("a"))) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(read_all(entry.path()), read_all(std::filesystem::path(at("b")) / std::filesystem::relative(entry.path(), at("a")))) << entry.path();
  }
}

TEST_F(Program, BytesOnDiskAreTheBytesOfTheFormulas) {
  LACUNA_NEEDS(kResnet20);
  for (std::string flags : {"--sparsity 0.3", "--sparsity 0.7 --allocation erk", "--sparsity 0.95", "--pattern 2:4 --ignore onnx::Conv_264",
                            "--pattern block:4x4 --sparsity 0.8 --ignore onnx::Conv_264"}) {
    Result r = lacuna("prune " + kResnet20 + " -o " + at("small") + " --force --json " + flags);
    ASSERT_EQ(r.status, 0) << flags << r.err;
    std::string shard = read_all(at("small/model-00001.safetensors"));
    uint64_t header = 0;
    memcpy(&header, shard.data(), sizeof header);
    EXPECT_EQ(shard.size() - sizeof header - header, r.json()["bytes_after"].get<uint64_t>()) << flags;
    for (auto report = r.json(); auto& w : report["weights"]) {  // docs/formats: mask bits in whole bytes per row, four bytes per kept f32
      if (w["format"] != "bitmask") continue;
      uint64_t parameters = w["parameters"], kept = parameters - w["zeros"].get<uint64_t>();
      EXPECT_NEAR(w["bytes_after"].get<double>(), double(parameters) / 8 + 4.0 * double(kept), 0.02 * w["bytes_after"].get<double>()) << w["name"];
    }
  }
}

TEST_F(Program, AFullDiskIsAnErrorThatNamesTheFileAndLeavesNoOutput) {
  LACUNA_NEEDS(kResnet20);
  std::filesystem::create_directories(at("disk"));
  const std::string mount = "mount -t tmpfs -o size=256k none " + at("disk");
  if (std::system(("unshare -m sh -c '" + mount + "' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "missing: the right to mount a small file system (root)";
  std::string script = at("full.sh");
  std::ofstream(script) << mount << "\n"
                        << LACUNA_PROGRAM << " prune " << kResnet20 << " -o " << at("disk/small") << " --sparsity 0.5\necho status $?\nls "
                        << at("disk") << "\n";
  std::string out = at("out");
  ASSERT_EQ(std::system(("unshare -m sh " + script + " >" + out + " 2>&1").c_str()), 0);
  std::string said = read_all(out);
  EXPECT_NE(said.find("status 1"), std::string::npos) << said;
  EXPECT_NE(said.find("No space left on device"), std::string::npos) << said;
  EXPECT_NE(said.find("model-00001.safetensors"), std::string::npos) << said;
  EXPECT_EQ(said.find("small\n"), std::string::npos) << said;
}

TEST_F(Program, RequestsThatCannotBeServedSayWhyAndWriteNothing) {
  LACUNA_NEEDS(kResnet20);
  struct Case {
    std::string flags, says;
  };
  for (auto& c : {Case{"--sparsity 0.5 --targets nonsense", "matches no weight"}, Case{"--sparsity 0.3 --pattern 2:4", "2:4"},
                  Case{"--sparsity 1.5", "[0, 1)"}, Case{"", "sparsity"}, Case{"--sparsity 0.5 --criterion magic", "magnitude"},
                  Case{"--sparsity 0.5 --pattern 4:2", "4:2"}, Case{"--sparsity 0.5 --allocation fair", "uniform"},
                  Case{"--sparsity 0.5 --ignore 're:('", "re:("}, Case{"--pattern 8:16 --targets conv1", "narrower"}}) {
    Result r = lacuna("prune " + kResnet20 + " -o " + at("small") + " " + c.flags);
    EXPECT_NE(r.status, 0) << c.flags;
    EXPECT_NE(r.err.find(c.says), std::string::npos) << c.flags << ": " << r.err;
    EXPECT_FALSE(std::filesystem::exists(at("small"))) << c.flags;
    EXPECT_FALSE(std::filesystem::exists(at("small.partial"))) << c.flags;
  }
}

TEST_F(Program, PruningToLessThanThereIsSaysWhatWasAskedFoundAndWhy) {
  const std::string llama = (kFixtures / "models/llama").string(), one = " --targets model.layers.0.mlp.up_proj.weight --json";
  ASSERT_EQ(lacuna("prune " + llama + " -o " + at("small") + " --sparsity 0.75").status, 0);
  Result r = lacuna("prune " + at("small") + " -o " + at("again") + " --sparsity 0.5" + one);
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(
      r.json()["needs_attention"],
      nlohmann::json::array({"prune, line 1: asked for 50 % zeros, found 75 % in 'model.layers.0.mlp.up_proj.weight', because so many were zero "
                             "before and pruning brings no weight back"}));
}

TEST_F(Program, AnExistingOutputIsKeptUnlessForced) {
  LACUNA_NEEDS(kStories);
  std::filesystem::create_directories(at("mine"));
  std::ofstream(at("mine/precious.txt")) << "keep";
  EXPECT_NE(lacuna("prune " + kStories + " -o " + at("mine") + " --sparsity 0.5").status, 0);
  EXPECT_NE(lacuna("prune " + kStories + " -o " + at("mine") + " --sparsity 0.5 --force").status, 0);  // no lacuna.json in it
  EXPECT_EQ(read_all(at("mine/precious.txt")), "keep");
  ASSERT_EQ(lacuna("prune " + kStories + " -o " + at("small") + " --sparsity 0.5").status, 0);
  EXPECT_NE(lacuna("prune " + kStories + " -o " + at("small") + " --sparsity 0.6").status, 0);
  EXPECT_EQ(lacuna("prune " + kStories + " -o " + at("small") + " --sparsity 0.6 --force").status, 0);
}

TEST_F(Program, OptionsThatWouldChangeNothingAreRefused) {
  LACUNA_NEEDS(kStories);
  struct Case {
    std::string command, says;
  };
  for (auto& c : {Case{"prune " + kStories + " -o " + at("out") + " --pattern 2:4 --allocation global", "allocation global"},
                  Case{"prune " + kStories + " -o " + at("out") + " --sparsity 0.5 --norm l2", "norm l2"},
                  Case{"prune " + kStories + " -o " + at("out") + " --sparsity 0.5 --seed 5", "seed"},
                  Case{"prune " + kStories + " -o " + at("out") + " --pattern 2:4 --sparsity -1", "[0, 1)"},
                  Case{"eval " + kStories + " --protocol perplexity --dataset " + kStories + "/stories-test.txt --limit 3", "--limit"},
                  Case{"convert " + kStories + " -o " + at("out") + " --encoding q8_0", "--encoding"}}) {
    Result r = lacuna(c.command);
    EXPECT_EQ(r.status, 1) << c.command << r.out;
    EXPECT_NE(r.err.find(c.says), std::string::npos) << c.command << ": " << r.err;
    EXPECT_FALSE(std::filesystem::exists(at("out"))) << c.command;
  }
}

TEST_F(Program, IncludedWeightsCanBeTargeted) {
  LACUNA_NEEDS(kResnet20);
  Result r = lacuna("prune " + kResnet20 + " -o " + at("small") + " --sparsity 0.5 --targets linear.weight --include linear.weight --json");
  ASSERT_EQ(r.status, 0) << r.err;
  ASSERT_EQ(r.json()["weights"].size(), 1u);
  EXPECT_EQ(r.json()["weights"][0]["zeros"], 320);
}

TEST_F(Program, BlocksAfterScatteredZerosAreStillWhatTheFileSays) {
  LACUNA_NEEDS(kStories);
  std::ofstream(at("recipe.yaml")) << "stages:\n  - prune: {sparsity: 0.5}\n  - prune: {sparsity: 0.6, pattern: 'block:4x4'}\n";
  Result r = lacuna("sparsify " + kStories + " --recipe " + at("recipe.yaml") + " -o " + at("small"));
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("asked for 60 % zeros, found "), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("because zeros that were there before stay, also in blocks that are kept"), std::string::npos) << r.out;
  Result verified = lacuna("verify " + kStories + " " + at("small"));
  EXPECT_EQ(verified.status, 0) << verified.out;
}

TEST_F(Program, TheRecipeOfAModelPrunedTwiceMakesItFromTheFirst) {
  LACUNA_NEEDS(kStories);
  ASSERT_EQ(lacuna("prune " + kStories + " -o " + at("a") + " --pattern 2:4").status, 0);
  ASSERT_EQ(lacuna("prune " + at("a") + " -o " + at("b") + " --sparsity 0.7").status, 0);
  ASSERT_EQ(lacuna("sparsify " + kStories + " --recipe " + at("b/recipe.yaml") + " -o " + at("again")).status, 0);
  EXPECT_EQ(read_all(at("b/model-00001.safetensors")), read_all(at("again/model-00001.safetensors")));
}

TEST_F(Program, VerifySeesAnotherLayerAndAnotherModel) {
  LACUNA_NEEDS(kResnet20);
  LACUNA_NEEDS(kStories);
  ASSERT_EQ(lacuna("prune " + kResnet20 + " -o " + at("small") + " --sparsity 0.5").status, 0);
  std::string onnx = read_all(kResnet20);
  size_t at_relu = onnx.find("\x04Relu");  // the type of the first such node; Selu has as many letters
  ASSERT_NE(at_relu, std::string::npos);
  std::string other = onnx;
  other.replace(at_relu + 1, 4, "Selu");
  std::ofstream(at("other.onnx"), std::ios::binary) << other;
  Result r = lacuna("verify " + at("other.onnx") + " " + at("small"));
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.out.find("the layers differ"), std::string::npos) << r.out << r.err;
  r = lacuna("verify " + kStories + " " + at("small"));
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.out.find("NOT verified"), std::string::npos) << r.out << r.err;
}

TEST_F(Program, ADamagedModelIsNotUsed) {
  LACUNA_NEEDS(kStories);
  ASSERT_EQ(lacuna("prune " + kStories + " -o " + at("small") + " --sparsity 0.5").status, 0);
  std::string shard = read_all(at("small/model-00001.safetensors"));
  shard[shard.size() - 100] = char(shard[shard.size() - 100] ^ 4);
  std::ofstream(at("small/model-00001.safetensors"), std::ios::binary) << shard;
  for (std::string command : {"convert " + at("small") + " -o " + at("out"), "run " + at("small") + " --prompt x",
                              "prune " + at("small") + " -o " + at("out") + " --sparsity 0.6"}) {
    Result r = lacuna(command);
    EXPECT_EQ(r.status, 1) << command;
    EXPECT_NE(r.err.find("model-00001.safetensors"), std::string::npos) << command << r.err;
    EXPECT_FALSE(std::filesystem::exists(at("out"))) << command;
  }
}

TEST_F(Program, OutputThatCannotBeWrittenIsAFailure) {
  LACUNA_NEEDS(kResnet20);
  EXPECT_EQ(std::system((std::string(LACUNA_PROGRAM) + " inspect " + kResnet20 + " --json >/dev/full 2>/dev/null").c_str()) >> 8, 1);
}

TEST_F(Program, AnInterruptedJobDoesNotContinueOnAnotherModel) {
  LACUNA_NEEDS(kStories);
  std::filesystem::copy(kStories, at("stories"));
  ASSERT_EQ(lacuna("prune " + at("stories") + " -o " + at("wanted") + " --sparsity 0.5").status, 0);
  // What a killed run of another checkpoint at the same path leaves.
  ASSERT_EQ(lacuna("prune " + at("stories") + " -o " + at("other") + " --sparsity 0.5 --criterion random").status, 0);
  std::filesystem::rename(at("other"), at("out.partial"));
  std::ofstream(at("out.partial/.lacuna-job")) << "sparsify of something else";
  ASSERT_EQ(lacuna("prune " + at("stories") + " -o " + at("out") + " --sparsity 0.5").status, 0);
  EXPECT_EQ(read_all(at("out/model-00001.safetensors")), read_all(at("wanted/model-00001.safetensors")));
}

TEST_F(Program, RecipeLinesThatClashAreNamed) {
  LACUNA_NEEDS(kStories);
  std::ofstream(at("recipe.yaml"))
      << "prune:\n  - {sparsity: 0.5, targets: ['re:.*q_proj']}\n  - {sparsity: 0.6, targets: ['re:.*layers.0.self_attn.*']}\n";
  Result r = lacuna("sparsify " + kStories + " --recipe " + at("recipe.yaml") + " -o " + at("small"));
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.err.find("model.layers.0.self_attn.q_proj.weight"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("stage 1, line 1 and stage 1, line 2"), std::string::npos) << r.err;
}

TEST_F(Program, ARecipeOfTwoStagesPrunesFurtherAndNeverBringsWeightsBack) {
  LACUNA_NEEDS(kStories);
  std::ofstream(at("recipe.yaml")) << "stages:\n  - prune: {pattern: '2:4'}\n  - prune: {sparsity: 0.75, mask_structure: unstructured}\n";
  Result r = lacuna("sparsify " + kStories + " --recipe " + at("recipe.yaml") + " -o " + at("small") + " --json");
  ASSERT_EQ(r.status, 0) << r.err;
  for (auto report = r.json(); auto& w : report["weights"]) EXPECT_NEAR(w["sparsity"].get<double>(), 0.75, 1e-3);
  EXPECT_EQ(lacuna("verify " + kStories + " " + at("small")).status, 0);
  Result again = lacuna("prune " + at("small") + " -o " + at("smaller") + " --sparsity 0.9 --json");
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_NEAR(again.json()["sparsity"].get<double>(), 0.9, 1e-3);
  EXPECT_EQ(lacuna("verify " + kStories + " " + at("smaller")).status, 0);
}

TEST_F(Program, DamagedModelsAreErrorsInWords) {
  LACUNA_NEEDS(kResnet20);
  LACUNA_NEEDS(kStories);
  std::string onnx = read_all(kResnet20);
  std::mt19937 random(1);
  for (int i = 0; i < 20; i++) {
    std::string damaged = i % 2 ? onnx.substr(0, random() % onnx.size()) : onnx;
    if (i % 2 == 0) damaged[random() % 3000] = char(random());
    std::ofstream(at("damaged.onnx"), std::ios::binary) << damaged;
    Result r = lacuna("inspect " + at("damaged.onnx"));
    EXPECT_LE(r.status, 1) << i << r.err;  // an error or, where the byte did not matter, success: never a signal
    if (r.status) {
      EXPECT_NE(r.err.find("error"), std::string::npos);
    }
  }
  std::filesystem::copy(kStories, at("stories"));
  std::filesystem::permissions(at("stories/tokenizer.json"), std::filesystem::perms::owner_all);
  std::filesystem::remove(at("stories/tokenizer.json"));
  Result r = lacuna("run " + at("stories") + " --prompt x");
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.err.find("tokenizer.json"), std::string::npos) << r.err;
  EXPECT_EQ(lacuna("inspect /nonexistent").status, 1);
}

}  // namespace
}  // namespace lacuna::test
