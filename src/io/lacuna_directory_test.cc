#include "io/lacuna_directory.h"

#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "base/cat.h"
#include "base/rng.h"
#include "graph/infer.h"
#include "io/output_directory.h"
#include "io/source.h"
#include "io/testing.h"
#include "sparse/format.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

Tensor random_codes(DType type, const Shape& shape, uint64_t seed) {
  Tensor t(type, shape);
  Rng rng(seed);
  for (size_t i = 0; i < t.size_bytes(); i++) t.mutable_raw()[i] = std::byte(rng.next());
  if (bits_of(type) == 4 && shape.back() % 2) {  // the spare nibble of a row is zero
    int64_t row_bytes = (shape.back() + 1) / 2;
    for (int64_t r = 0; r < t.size() / shape.back(); r++) t.mutable_raw()[(r + 1) * row_bytes - 1] &= std::byte(15);
  }
  return t;
}

Mask random_mask(int64_t rows, int64_t cols, double density, uint64_t seed) {
  Mask mask(rows, cols, true);
  Rng rng(seed);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) mask.set(r, c, rng.uniform() < density);
  return mask;
}

// Codes that are not kept are zero bytes.
void clear_removed(const Weight& weight, WeightData& data) {
  if (!data.mask) return;
  data.values = source_order(weight, masked_matrix(weight, data).codes);
}

// A Graph of linear layers, one per encoding and mask, in blocks.
struct Sample {
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  std::vector<WeightData> data;

  void add(std::string name, const std::string& block, Shape shape, MatrixLayout layout, Encoding encoding, std::optional<Mask> mask,
           std::string pattern) {
    uint64_t seed = data.size();
    WeightData d{.values = random_codes(encoding.values, shape, seed)};
    Weight weight{.name = std::move(name), .shape = shape, .layout = layout, .encoding = encoding, .pattern = std::move(pattern)};
    if (encoding.granularity != Encoding::Granularity::kNone) {
      MatrixView view(layout, shape);
      Shape scales = {1};
      if (encoding.granularity == Encoding::Granularity::kRow) scales = {view.rows};
      if (encoding.granularity == Encoding::Granularity::kGroup) scales = {view.rows, (view.cols + encoding.group - 1) / encoding.group};
      d.scales = random_codes(encoding.scales, scales, seed + 100);
      if (encoding.has_minima) d.minima = random_codes(encoding.scales, scales, seed + 200);
      if (encoding.has_zero_points) d.zero_points = random_codes(encoding.values, scales, seed + 300);
    }
    d.mask = std::move(mask);
    clear_removed(weight, d);
    weight.source = in_memory(d);
    int64_t in = layout == MatrixLayout::kInOut ? shape[0] : shape.size() == 2 ? shape[1] : 0;
    WeightId id = graph->weights.add(weight);
    data.push_back(std::move(d));
    if (layout == MatrixLayout::kConv) {
      ValueId x = graph->add_input(cat("image", id), DType::kF32, {Dim(1), Dim(shape[1]), Dim(9), Dim(9)});
      graph->add_output(cat("out", id), graph->add(Op::conv, {x, graph->add_weight(id)}, {}, {}, block));
    } else if (in) {
      ValueId x = graph->add_input(cat("x", id), DType::kF32, {Dim::symbol("batch"), Dim(in)});
      graph->add_output(cat("out", id), graph->add(Op::linear, {x, graph->add_weight(id)}, {}, {}, block));
    } else {
      graph->add_output(cat("out", id), graph->add(Op::identity, {graph->add_weight(id)}, {}, {}, block));
    }
  }

  Sample() {
    using enum Encoding::Granularity;
    add("dense", "embeddings", {40, 33}, MatrixLayout::kOutIn, {.values = DType::kF32}, {}, "");
    add("half", "layers.0.mlp", {64, 48}, MatrixLayout::kOutIn, {.values = DType::kF16}, random_mask(64, 48, 0.3, 1), "unstructured");
    add("brain", "layers.0.mlp", {31, 50}, MatrixLayout::kInOut, {.values = DType::kBF16}, random_mask(50, 31, 0.1, 2), "unstructured");
    add("conv", "layers.1", {8, 6, 3, 3}, MatrixLayout::kConv, {.values = DType::kF32}, random_mask(8, 54, 0.5, 3), "unstructured");
    add("bytes", "layers.1", {20, 64}, MatrixLayout::kOutIn, {.values = DType::kS8, .granularity = kRow, .scales = DType::kF32},
        random_mask(20, 64, 0.5, 4), "unstructured");
    add("zeros", "layers.2", {20, 64}, MatrixLayout::kOutIn,
        {.values = DType::kU8, .granularity = kTensor, .has_zero_points = true, .scales = DType::kF32}, {}, "");
    add("nibbles", "layers.2", {20, 65}, MatrixLayout::kOutIn,
        {.values = DType::kU4, .granularity = kGroup, .group = 32, .has_minima = true, .scales = DType::kF16}, random_mask(20, 65, 0.4, 5),
        "unstructured");
    add("signed", "head", {6, 64}, MatrixLayout::kOutIn, {.values = DType::kS4, .granularity = kGroup, .group = 32, .scales = DType::kF16}, {}, "");
    add("empty", "head", {6, 64}, MatrixLayout::kOutIn, {.values = DType::kF32}, Mask(6, 64, false), "unstructured");
    add("bias", "head", {}, MatrixLayout::kNone, {.values = DType::kS64}, {}, "");
    infer_shapes(*graph);
  }
};

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && (a.size_bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.size_bytes()) == 0);
}

void expect_same(const Graph& graph, const Graph& back, const std::vector<WeightData>& data) {
  for (WeightId id = 0; id < graph.weights.size(); id++) {
    const Weight& wanted = graph.weights[id];
    WeightId found_id = back.weights.find(wanted.name);
    ASSERT_GE(found_id, 0) << wanted.name;
    const Weight& found = back.weights[found_id];
    EXPECT_EQ(found.shape, wanted.shape);
    EXPECT_EQ(found.layout, wanted.layout);
    EXPECT_EQ(found.encoding, wanted.encoding);
    EXPECT_EQ(found.pattern, wanted.pattern);
    WeightData loaded = found.load();
    EXPECT_TRUE(same_bytes(loaded.values, data[size_t(id)].values)) << wanted.name;
    EXPECT_TRUE(same_bytes(loaded.scales, data[size_t(id)].scales)) << wanted.name;
    EXPECT_TRUE(same_bytes(loaded.minima, data[size_t(id)].minima)) << wanted.name;
    EXPECT_TRUE(same_bytes(loaded.zero_points, data[size_t(id)].zero_points)) << wanted.name;
    EXPECT_EQ(loaded.mask, data[size_t(id)].mask) << wanted.name;
    EXPECT_LE(found.source->stored_bytes(), in_memory(data[size_t(id)])->stored_bytes()) << wanted.name;
  }
}

void write_all(const fs::path& out, const Sample& sample, bool force = false) {
  LacunaWriter writer(out, *sample.graph, ModelKind::kHuggingFace, force);
  writer.add_rest();
  writer.add_file("recipe.yaml", "stages: []\n");
  writer.finish();
}

TEST(LacunaDirectory, ReturnsEveryEncodingAndMaskBitForBit) {
  TemporaryDirectory dir;
  Sample sample;
  write_all(dir / "out", sample);
  EXPECT_FALSE(fs::exists(dir / "out.partial"));
  Model model = load_model(dir / "out");
  EXPECT_EQ(model.kind, ModelKind::kLacuna);
  EXPECT_EQ(model.source_kind, ModelKind::kHuggingFace);
  EXPECT_EQ(graph_to_json(*model.graph), graph_to_json(*sample.graph));
  expect_same(*sample.graph, *model.graph, sample.data);
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
  EXPECT_EQ(read_lacuna_text(dir / "out", "recipe.yaml"), "stages: []\n");
}

TEST(LacunaDirectory, KeepsAKeptZero) {
  TemporaryDirectory dir;
  Sample sample;
  WeightData data = sample.graph->weights[0].load();
  data.mask = random_mask(40, 33, 0.97, 9);
  data.mask->set(3, 4, true);
  data.values = data.values.clone();
  data.values.mutable_data<float>()[3 * 33 + 4] = 0;
  clear_removed(sample.graph->weights[0], data);
  LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kOnnx);
  EXPECT_EQ(writer.add_weight(0, data, "unstructured").format, "dense");
  writer.add_rest();
  writer.finish();
  WeightData back = read_lacuna(dir / "out").graph->weights[0].load();
  EXPECT_EQ(back.mask, data.mask);
  EXPECT_TRUE(same_bytes(back.values, data.values));
}

TEST(LacunaDirectory, ShardsFollowTheBlocksAndTheSameBytesComeOutTwice) {
  TemporaryDirectory dir;
  Sample sample;
  write_all(dir / "a", sample);
  write_all(dir / "b", sample);
  for (auto& entry : fs::directory_iterator(dir / "a"))
    EXPECT_EQ(get_file(entry.path()), get_file(dir / "b" / entry.path().filename())) << entry.path();
}

TEST(LacunaDirectory, ContinuesAnInterruptedJobToTheSameBytes) {
  TemporaryDirectory dir;
  // Large enough for one shard per block.
  Sample sample;
  for (int i = 0; i < 4; i++)
    sample.add(cat("big", i), cat("blocks.", i, ".mlp"), {1600, 1500}, MatrixLayout::kOutIn, {.values = DType::kF32}, {}, "");
  infer_shapes(*sample.graph);
  auto order = LacunaWriter(dir / "whole", *sample.graph, ModelKind::kOnnx).order();
  write_all(dir / "whole", sample);
  {
    LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job 1");
    for (size_t i = 0; i + 2 < order.size(); i++)
      writer.add_weight(order[i], sample.graph->weights[order[i]].load(), sample.graph->weights[order[i]].pattern);
  }
  EXPECT_TRUE(fs::exists(dir / "out.partial"));
  {
    LacunaWriter other(dir / "out2", *sample.graph, ModelKind::kOnnx, false, "job 1");
    EXPECT_FALSE(other.has_weight(order[0]));
  }
  LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kHuggingFace, false, "job 1");
  EXPECT_TRUE(writer.has_weight(order[0]));
  EXPECT_FALSE(writer.has_weight(order.back()));
  writer.add_rest();
  writer.add_file("recipe.yaml", "stages: []\n");
  writer.finish();
  for (auto& entry : fs::directory_iterator(dir / "whole"))
    EXPECT_EQ(get_file(entry.path()), get_file(dir / "out" / entry.path().filename())) << entry.path();
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
}

TEST(LacunaDirectory, StartsOverForAnotherJobOrAChangedShard) {
  TemporaryDirectory dir;
  Sample sample;
  auto interrupted = [&](std::string_view key) {
    LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kOnnx, false, key);
    bool had = writer.has_weight(0);
    if (!had) writer.add_rest();
    return had;
  };
  EXPECT_FALSE(interrupted("one"));
  EXPECT_TRUE(interrupted("one"));
  EXPECT_FALSE(interrupted("two"));
  std::string shard = get_file(dir / "out.partial/model-00001.safetensors");
  shard.back() ^= 1;
  put_file(dir / "out.partial/model-00001.safetensors", shard);
  EXPECT_FALSE(interrupted("two"));
}

TEST(LacunaDirectory, OnlyForceReplacesAndOnlyWhatLacunaMade) {
  TemporaryDirectory dir;
  Sample sample;
  write_all(dir / "out", sample);
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_all(dir / "out", sample); }), "exists already"));
  write_all(dir / "out", sample, true);
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
  fs::create_directory(dir / "mine");
  put_file(dir / "mine/thesis.tex", "x");
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_all(dir / "mine", sample, true); }), "--force does not replace it"));
  EXPECT_TRUE(fs::exists(dir / "mine/thesis.tex"));
  put_file(dir / "out/notes.txt", "x");  // beside a model of ours
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_all(dir / "out", sample, true); }), "notes.txt"));
  EXPECT_TRUE(fs::exists(dir / "out/notes.txt"));
  put_file(dir / "file", "x");
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_all(dir / "file", sample, true); }), "is a file"));
  EXPECT_TRUE(fs::is_regular_file(dir / "file"));
  put_file(dir / "taken.partial/thesis.tex", "x");
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { write_all(dir / "taken", sample); }), "was not made by Lacuna"));
}

TEST(LacunaDirectory, AnEmptyDirectoryIsWrittenIntoAndParentsAreMade) {
  TemporaryDirectory dir;
  Sample sample;
  fs::create_directory(dir / "empty");
  write_all(dir / "empty", sample);
  EXPECT_TRUE(verify_hashes(dir / "empty").empty());
  write_all(dir / "new/parents/out", sample);
  EXPECT_TRUE(verify_hashes(dir / "new/parents/out").empty());
}

TEST(LacunaDirectory, AnOutputThatIsOrHoldsTheInputIsRefusedEvenByForce) {
  TemporaryDirectory dir;
  write_all(dir / "model", Sample{});
  for (fs::path out : {dir / "model", dir / "model/", dir.path() / "model/../model", dir.path()})
    EXPECT_THROW(check_replaceable(out, true, dir / "model"), InvalidArgument) << out;
  EXPECT_NO_THROW(check_replaceable(dir / "model2", false, dir / "model"));
}

TEST(LacunaDirectory, WhatAppearsAtTheOutputMeanwhileIsNotReplaced) {
  TemporaryDirectory dir;
  Sample sample;
  {
    LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job");
    writer.add_rest();
    put_file(dir / "out/thesis.tex", "x");
    EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { writer.finish(); }), "exists already"));
  }
  EXPECT_EQ(get_file(dir / "out/thesis.tex"), "x");
  fs::remove_all(dir / "out");
  LacunaWriter writer(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job");
  EXPECT_TRUE(writer.has_weight(0));  // nothing of the work was lost
  writer.finish();
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
}

TEST(LacunaDirectory, AReplacedModelThatACrashLeftBehindIsNotInTheWay) {
  TemporaryDirectory dir;
  Sample sample;
  write_all(dir / "old", sample);
  fs::rename(dir / "old", dir / "out.partial");  // as after the exchange and before the removal
  put_file(dir / "out.partial/.lacuna-job", "");
  write_all(dir / "out", sample);
  EXPECT_FALSE(fs::exists(dir / "out.partial"));
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
}

TEST(LacunaDirectory, AJobThatFinishedNoWeightLeavesNothing) {
  TemporaryDirectory dir;
  Sample sample;
  { LacunaWriter none(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job"); }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(LacunaDirectory, TwoWritersOfOneOutputDoNotMix) {
  TemporaryDirectory dir;
  Sample sample;
  LacunaWriter first(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job");
  EXPECT_TRUE(
      contains(message_of<InvalidArgument>([&] { LacunaWriter(dir / "out", *sample.graph, ModelKind::kOnnx, false, "job"); }), "another process"));
}

TEST(LacunaDirectory, AFullDiskLeavesNoHalfModel) {
  TemporaryDirectory dir;
  Sample sample;
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = {4096, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message = message_of<IoError>([&] { write_all(dir / "out", sample); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_TRUE(contains(message, "cannot write"));
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(LacunaDirectory, OneFlippedBitAnywhereIsFound) {
  TemporaryDirectory dir;
  Sample sample;
  write_all(dir / "out", sample);
  Rng rng(7);
  for (auto& entry : fs::directory_iterator(dir / "out")) {
    std::string good = get_file(entry.path());
    for (int i = 0; i < 60; i++) {
      std::string bad = good;
      size_t at = i == 0 ? 0 : i == 1 ? bad.size() - 1 : size_t(rng.below(int64_t(bad.size())));
      bad[at] ^= char(1 << rng.below(8));
      put_file(entry.path(), bad);
      EXPECT_FALSE(verify_hashes(dir / "out").empty()) << entry.path() << " byte " << at;
    }
    put_file(entry.path(), good);
  }
  EXPECT_TRUE(verify_hashes(dir / "out").empty());
  put_file(dir / "out/more.txt", "x");
  EXPECT_EQ(verify_hashes(dir / "out"), std::vector<std::string>{"more.txt: is not listed in lacuna.json"});
  fs::remove(dir / "out/more.txt");
  fs::remove(dir / "out/recipe.yaml");
  EXPECT_EQ(verify_hashes(dir / "out"), std::vector<std::string>{"recipe.yaml: is missing"});
}

}  // namespace
}  // namespace lacuna
