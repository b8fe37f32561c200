#include <set>

#include "base/cat.h"
#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/testing.h"
#include "lacuna/prune.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

// Three linear layers, each of a block and large enough for a shard of its own.
fs::path three_layers(const TemporaryDirectory& directory) {
  auto graph = std::make_shared<Graph>();
  constexpr int64_t kSide = 1500;
  ValueId x = graph->add_input("x", DType::kF32, {Dim(1), Dim(kSide)});
  for (int i = 0; i < 3; i++) {
    Tensor values(DType::kF32, {kSide, kSide}, false);
    int64_t n = 0;
    for (float& v : values.mutable_data<float>()) v = float((n++ * 7919 + i) % 10007) - 5000;
    WeightId id = graph->weights.add(
        {.name = cat("layers.", i, ".weight"), .shape = values.shape(), .layout = MatrixLayout::kOutIn, .source = in_memory({.values = values})});
    x = graph->add(Op::linear, {x, graph->add_weight(id)}, {}, {}, cat("layers.", i));
    x = graph->add(Op::relu, {x});
  }
  graph->add_output("y", x);
  infer_shapes(*graph);
  save_lacuna({.kind = ModelKind::kHuggingFace, .path = directory.path(), .graph = graph, .source_kind = ModelKind::kHuggingFace},
              directory / "model", false);
  return directory / "model";
}

struct Stop {};

// Notes what is done, and stops at the n-th report of `stop_at`.
class Notes : public Progress {
 public:
  explicit Notes(std::string stop_at = {}, int n = 0) : stop_at_(std::move(stop_at)), left_(n) {}
  void update(std::string_view what, int64_t, int64_t) override {
    seen.insert(std::string(what));
    if (what == stop_at_ && --left_ == 0) throw Stop{};
  }
  std::set<std::string> seen;

 private:
  std::string stop_at_;
  int left_;
};

TEST(Sparsify, AJobThatWasInterruptedEndsInTheSameBytesAndReport) {
  TemporaryDirectory directory;
  fs::path model = three_layers(directory);
  Recipe recipe = parse_recipe("prune: [{sparsity: 0.5, targets: ['re:layers.[01]']}, {pattern: '2:4', targets: [layers.2]}]");
  PruneReport whole = sparsify(model, recipe, directory / "whole");
  EXPECT_EQ(whole.total_zeros, 3 * 1500 * 1500 / 2);
  Notes interrupted("writing", 3);
  EXPECT_THROW(sparsify(model, recipe, directory / "out", {}, &interrupted), Stop);
  ASSERT_TRUE(fs::exists(directory / "out.partial/model-00001.safetensors"));
  PruneReport resumed = sparsify(model, recipe, directory / "out");
  EXPECT_EQ(resumed.total_zeros, whole.total_zeros);
  for (auto& entry : fs::directory_iterator(directory / "whole"))
    EXPECT_EQ(get_file(entry.path()), get_file(directory / "out" / entry.path().filename().string())) << entry.path();
}

TEST(Sparsify, ADryRunRanksNothingAndStillChecksTheRequest) {
  TemporaryDirectory directory;
  fs::path model = three_layers(directory);
  Notes notes;
  Recipe recipe = parse_recipe("stages: [{prune: {sparsity: 0.5, allocation: global}}, {prune: {pattern: '2:4'}}]");
  PruneReport report = sparsify(model, recipe, directory / "out", {.dry_run = true}, &notes);
  EXPECT_EQ(notes.seen, std::set<std::string>{});
  ASSERT_EQ(report.weights.size(), 3u);
  EXPECT_EQ(report.weights[0].line, "stage 1, line 1; stage 2, line 1");
  EXPECT_FALSE(fs::exists(directory / "out"));
  recipe = parse_recipe("prune: {sparsity: 0.5, allocation: global, overrides: [{targets: [layers.0], sparsity: 1}]}");
  EXPECT_THROW(sparsify(model, recipe, directory / "out", {.dry_run = true}), InvalidArgument);
}

TEST(Sparsify, WhatIsWrongWithALaterStageIsSaidBeforeTheFirstIsRanked) {
  TemporaryDirectory directory;
  fs::path model = three_layers(directory);
  for (std::string second : {"criterion: magic, sparsity: 0.6", "sparsity: 0.6, targets: [nothing]", "pattern: '1500:1501', targets: [layers.1]"}) {
    Notes notes;
    Recipe recipe = parse_recipe("stages: [{prune: {sparsity: 0.5, allocation: global}}, {prune: {" + second + "}}]");
    EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { sparsify(model, recipe, directory / "out", {}, &notes); }), "stage 2, line 1"));
    EXPECT_FALSE(notes.seen.contains("ranking")) << second;
  }
}

}  // namespace
}  // namespace lacuna
