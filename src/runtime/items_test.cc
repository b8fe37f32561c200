#include "runtime/items.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/cat.h"
#include "base/parallel.h"
#include "graph/testing.h"
#include "lacuna/error.h"
#include "runtime/apart.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using testing::attributes;
using testing::integers;
using testing::random_tensor;

constexpr int64_t kChannels = 6;

// A graph of one input [batch, 6, 8]; `build` makes its result.
template <class Build>
Graph graph_of(Build&& build) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("batch"), kChannels, 8});
  graph.add_output("y", build(graph, x));
  infer_shapes(graph);
  return graph;
}

template <class Build>
bool separate(Build&& build) {
  return separate_items(graph_of(build)).has_value();
}

TEST(Items, StaySeparateAlongOtherAxes) {
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::relu, {x}); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::softmax, {x}, attributes({{"axis", int64_t(-1)}})); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::concat, {x, x}, attributes({{"axis", int64_t(1)}})); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::transpose, {x}, attributes({{"perm", integers({0, 2, 1})}})); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::reduce_mean, {x}, attributes({{"axes", integers({1})}})); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::linear, {x, testing::weight(g, "w", {4, 8}, MatrixLayout::kOutIn)}); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::add, {x, testing::weight(g, "w", {kChannels, 8})}); }));
  EXPECT_TRUE(separate([](Graph& g, ValueId x) { return g.add(Op::gather, {x, testing::scalar(g, "i", 2)}, attributes({{"axis", int64_t(1)}})); }));
}

TEST(Items, MayComeInSeveralRowsEach) {
  // [batch * 6, 8], as exports of attention and of linear layers without a batch have it, and back.
  EXPECT_TRUE(separate([](Graph& g, ValueId x) {
    ValueId rows = g.add(Op::reshape, {x, testing::vector_of(g, "flat", {-1, 8})});
    rows = g.add(Op::linear, {rows, testing::weight(g, "w", {8, 8}, MatrixLayout::kOutIn)});
    ValueId batch = g.add(Op::gather, {g.add(Op::shape_of, {x}), testing::vector_of(g, "first", {0})});
    ValueId shape = g.add(Op::concat, {batch, testing::vector_of(g, "rest", {kChannels, 8})}, attributes({{"axis", int64_t(0)}}));
    return g.add(Op::reshape, {rows, shape});
  }));
}

TEST(Items, AreJoinedAlongTheirOwnAxis) {
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::softmax, {x}, attributes({{"axis", int64_t(0)}})); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::softmax, {x}, attributes({{"axis", int64_t(-3)}})); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::concat, {x, x}, attributes({{"axis", int64_t(0)}})); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::transpose, {x}, attributes({{"perm", integers({1, 0, 2})}})); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::reduce_mean, {x}, attributes({{"axes", integers({0})}})); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) {
    return g.add(Op::reduce_mean, {x}, attributes({{"axes", integers({0})}, {"keepdims", int64_t(1)}}));
  }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::cum_sum, {x, testing::scalar(g, "axis", 0)}); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::tile, {x, testing::vector_of(g, "twice", {2, 1, 1})}); }));
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::gather, {x, testing::scalar(g, "i", 0)}, attributes({{"axis", int64_t(0)}})); }));
  // Every item minus the mean of all.
  EXPECT_FALSE(separate([](Graph& g, ValueId x) {
    ValueId mean = g.add(Op::reduce_mean, {x}, attributes({{"axes", integers({0})}, {"keepdims", int64_t(1)}}));
    return g.add(Op::sub, {x, mean});
  }));
  // Backwards through the batch, which keeps its shape.
  EXPECT_FALSE(separate([](Graph& g, ValueId x) {
    return g.add(Op::slice, {x, testing::vector_of(g, "from", {-1}), testing::vector_of(g, "to", {-1000}), testing::vector_of(g, "axes", {0}),
                             testing::vector_of(g, "steps", {-1})});
  }));
  // An item less, and another in front.
  EXPECT_FALSE(separate([](Graph& g, ValueId x) { return g.add(Op::pad, {x, testing::vector_of(g, "pads", {1, 0, 0, -1, 0, 0})}); }));
}

TEST(Items, HowManyThereAreIsOnlyAShape) {
  auto count_of = [](Graph& g, ValueId x) { return g.add(Op::gather, {g.add(Op::shape_of, {x}), testing::vector_of(g, "first", {0})}); };
  EXPECT_FALSE(separate([&](Graph& g, ValueId x) {
    return g.add(Op::div, {x, g.add(Op::cast, {count_of(g, x)}, attributes({{"to", "f32"}}))});  // a mean over the batch
  }));
  // Zeros for every item, [batch, 6, 8].
  EXPECT_TRUE(separate([&](Graph& g, ValueId x) {
    ValueId shape = g.add(Op::concat, {count_of(g, x), testing::vector_of(g, "rest", {kChannels, 8})}, attributes({{"axis", int64_t(0)}}));
    return g.add(Op::add, {x, g.add(Op::expand, {testing::number(g, "zero", 0), shape})});
  }));
}

// A graph of x [batch, 4, 8] and z, whose first dimension has a symbol of its own.
template <class Build>
bool separate_of_two(SymShape z_shape, Build&& build) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 4, 8}), z = g.add_input("z", DType::kF32, std::move(z_shape));
  g.add_output("y", build(g, x, z));
  infer_shapes(g);
  return separate_items(g).has_value();
}

TEST(Items, TwoSymbolsAreNotOne) {
  Dim n = Dim::symbol("n");
  auto head = attributes({{"heads", int64_t(2)}, {"kv_heads", int64_t(2)}, {"head_dim", int64_t(4)}});
  EXPECT_FALSE(separate_of_two({n, 4, 8}, [](Graph& g, ValueId x, ValueId z) { return g.add(Op::add, {x, z}); }));
  EXPECT_FALSE(separate_of_two({n, 4, 8}, [](Graph& g, ValueId x, ValueId z) {
    return g.add(Op::concat, {x, z}, attributes({{"axis", int64_t(1)}}));
  }));
  EXPECT_FALSE(separate_of_two({n, 8, 2}, [](Graph& g, ValueId x, ValueId z) { return g.add(Op::matmul, {x, z}); }));
  EXPECT_FALSE(separate_of_two({n, 4, 8}, [&](Graph& g, ValueId x, ValueId z) { return g.add(Op::attention, {x, z, z}, head); }));
  EXPECT_FALSE(separate_of_two({n, 4}, [&](Graph& g, ValueId x, ValueId z) { return g.add(Op::attention, {x, x, x, z}, head); }));
  EXPECT_FALSE(separate_of_two({n, 4}, [](Graph& g, ValueId x, ValueId z) {
    return g.add(Op::rope, {x, g.add(Op::cast, {z}, attributes({{"to", "s64"}}))}, attributes({{"heads", int64_t(2)}, {"head_dim", int64_t(4)}}));
  }));
  EXPECT_FALSE(separate_of_two({n, 4}, [](Graph& g, ValueId x, ValueId z) { return g.add(Op::token_pool, {x, z}, attributes({{"mode", "mean"}})); }));
  EXPECT_TRUE(separate_of_two({4, 8}, [](Graph& g, ValueId x, ValueId z) { return g.add(Op::add, {x, z}); }));
  EXPECT_TRUE(separate_of_two({1, 4, 8}, [](Graph& g, ValueId x, ValueId z) { return g.add(Op::add, {x, z}); }));
}

TEST(Items, AMaskOfThreeDimensionsCountsHeads) {
  Graph g;
  Dim count = Dim::symbol("batch");
  ValueId x = g.add_input("x", DType::kF32, {count, 3, 8}), mask = g.add_input("mask", DType::kF32, {count, 3, 3});
  g.add_output("y", g.add(Op::attention, {x, x, x, mask}, attributes({{"heads", int64_t(4)}, {"kv_heads", int64_t(4)}, {"head_dim", int64_t(2)}})));
  infer_shapes(g);
  EXPECT_FALSE(separate_items(g).has_value());
}

TEST(Items, PositionsAmongAllOfThemJoin) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 2, 4, 4});
  auto windows = attributes({{"kernel_shape", integers({2, 2})}, {"strides", integers({2, 2})}});
  std::vector<ValueId> pooled = g.node(g.add_node(Op::max_pool, {x}, 2, windows)).outputs;
  g.add_output("y", pooled[0]);
  g.add_output("where", pooled[1]);
  infer_shapes(g);
  EXPECT_FALSE(separate_items(g).has_value());
}

TEST(Items, SizesThatOnlyTheRunCanTellMayCountThem) {
  auto count_of = [](Graph& g, ValueId x) { return g.add(Op::gather, {g.add(Op::shape_of, {x}), testing::vector_of(g, "first", {0})}); };
  EXPECT_FALSE(separate([&](Graph& g, ValueId x) {  // the sum of x[:, batch - 2:]
    ValueId start = g.add(Op::sub, {count_of(g, x), testing::vector_of(g, "two", {2})});
    ValueId some = g.add(Op::slice, {x, start, testing::vector_of(g, "end", {1000}), testing::vector_of(g, "axes", {1})});
    return g.add(Op::reduce_sum, {some}, attributes({{"axes", integers({1})}}));
  }));
  EXPECT_FALSE(separate([&](Graph& g, ValueId x) {  // x[:, batch - 2:batch], always two
    ValueId count = count_of(g, x), start = g.add(Op::sub, {count, testing::vector_of(g, "two", {2})});
    return g.add(Op::slice, {x, start, count, testing::vector_of(g, "axes", {1})});
  }));
}

TEST(Items, ALeadingMultipleOfASymbolRunsTogether) {
  Rng rng(7);
  Graph g;
  g.add_output("y", g.add(Op::relu, {g.add_input("x", DType::kF32, {Dim(2) * Dim::symbol("batch"), 6})}));
  infer_shapes(g);
  TensorMap inputs = {{"x", random_tensor(rng, {4, 6})}};
  EXPECT_EQ(testing::run(g, inputs, Executor::kRuntime).at("y").shape(), (Shape{4, 6}));
}

TEST(Items, NeedADimensionThatCountsThem) {
  Graph fixed;
  fixed.add_output("y", fixed.add(Op::relu, {fixed.add_input("x", DType::kF32, {4, 8})}));
  infer_shapes(fixed);
  EXPECT_FALSE(separate_items(fixed).has_value());
}

struct Model {
  Graph graph;
  TensorMap inputs;
};

// Convolutions with a residual, and a classifier.
Model images(int64_t batch, int64_t side) {
  Rng rng(3);
  Graph g;
  auto weight = [&](Shape shape, MatrixLayout layout) {
    return testing::add_weight(g, "w" + std::to_string(g.values().size()), random_tensor(rng, std::move(shape), 0.2f), layout);
  };
  ValueId x = g.add_input("image", DType::kF32, {Dim::symbol("batch"), 3, side, side});
  auto padded = attributes({{"pads", integers({1, 1, 1, 1})}});
  x = g.add(Op::relu, {g.add(Op::conv, {x, weight({16, 3, 3, 3}, MatrixLayout::kConv)}, padded)});
  ValueId y = g.add(Op::relu, {g.add(Op::conv, {x, weight({16, 16, 3, 3}, MatrixLayout::kConv)}, padded)});
  x = g.add(Op::max_pool, {g.add(Op::add, {x, y})}, attributes({{"kernel_shape", integers({2, 2})}, {"strides", integers({2, 2})}}));
  x = g.add(Op::flatten, {g.add(Op::global_average_pool, {x})});
  g.add_output("classes", g.add(Op::linear, {x, weight({5, 16}, MatrixLayout::kOutIn)}));
  infer_shapes(g);
  return {std::move(g), {{"image", random_tensor(rng, {batch, 3, side, side})}}};
}

Model small_images(int64_t batch) { return images(batch, 12); }

// Attention under a mask of the items, another input that all share, and two results.
Model texts(int64_t batch) {
  Rng rng(4);
  Graph g;
  auto weight = [&](Shape shape) {
    return testing::add_weight(g, "w" + std::to_string(g.values().size()), random_tensor(rng, std::move(shape), 0.2f), MatrixLayout::kOutIn);
  };
  Dim count = Dim::symbol("batch");
  ValueId x = g.add_input("x", DType::kF32, {count, 7, 16}), mask = g.add_input("mask", DType::kS64, {count, 7});
  ValueId shift = g.add_input("shift", DType::kF32, {7, 16});
  x = g.add(Op::add, {x, shift});
  auto head = attributes({{"heads", int64_t(2)}, {"kv_heads", int64_t(2)}, {"head_dim", int64_t(8)}, {"scale", 0.35}});
  ValueId y = g.add(Op::attention, {g.add(Op::linear, {x, weight({16, 16})}), g.add(Op::linear, {x, weight({16, 16})}), x, mask}, head);
  y = g.add(Op::layer_norm, {g.add(Op::add, {x, y})});
  g.add_output("hidden", y);
  g.add_output("pooled", g.add(Op::token_pool, {y, mask}, attributes({{"mode", "mean"}})));
  infer_shapes(g);
  Tensor kept(DType::kS64, {batch, 7});
  for (int64_t i = 0; i < kept.size(); i++) kept.mutable_data<int64_t>()[size_t(i)] = i % 7 <= 2 + i / 7 % 5;
  return {std::move(g), {{"x", random_tensor(rng, {batch, 7, 16})}, {"mask", kept}, {"shift", random_tensor(rng, {7, 16})}}};
}

class Pieces : public ::testing::Test {
 protected:
  ~Pieces() override { set_thread_count(before_); }

  // Results of a batch in pieces of at most `most`.
  static std::vector<Tensor> run(const Model& model, int64_t count, int64_t most, std::vector<Session::ProfileLine>* profile = nullptr) {
    auto items = separate_items(model.graph);
    EXPECT_TRUE(items);
    KvCache cache(0);
    BoundInputs inputs = bind_inputs(model.graph, model.inputs, 0);
    PackStore packs(model.graph, {});
    std::map<ValueId, Tensor> constants;
    auto constant = [&](ValueId v) -> const Tensor& { return constants[v] = weight_value(*model.graph.weight_of(v)); };
    Apart apart(*items, count, most, [&](int64_t n) {
      Bindings bindings = inputs.bindings;
      bindings[items->symbol] = n;
      return std::make_unique<Program>(model.graph, bindings, packs, constant, true, 1);
    });
    Arenas arenas;
    return apart.run({inputs, cache, nullptr, profile}, arenas);
  }

 private:
  int before_ = thread_count();
};

TEST_F(Pieces, GiveWhatTheBatchGivesTogether) {
  for (auto make : {small_images, texts})
    for (int threads : {1, 2, 3})
      for (int64_t count : {2, 5, 8})
        for (int64_t most : {1, 2, 4}) {
          SCOPED_TRACE(::testing::Message() << threads << " threads, " << count << " items, pieces of up to " << most);
          set_thread_count(threads);
          Model model = make(count);
          TensorMap wanted = testing::run(model.graph, model.inputs, Executor::kReference);
          std::vector<Tensor> found = run(model, count, most);
          ASSERT_EQ(found.size(), model.graph.outputs().size());
          for (size_t i = 0; i < found.size(); i++) {
            const Tensor& expected = wanted.at(model.graph.outputs()[i].name);
            ASSERT_EQ(found[i].shape(), expected.shape());
            EXPECT_LE(relative_error(found[i], expected), 1e-5);
          }
        }
}

TEST_F(Pieces, ReportEachNodeOnce) {
  set_thread_count(2);
  std::vector<Session::ProfileLine> profile;
  run(small_images(5), 5, 2, &profile);
  std::set<std::string> seen;
  for (auto& line : profile) EXPECT_TRUE(seen.insert(line.op + line.node).second) << line.node;
  EXPECT_GE(seen.size(), 4u);
}

TEST_F(Pieces, OfTheFixedPlanGiveTheSameBitsForAnyThreadCount) {
  Model model = images(12, 24);
  EXPECT_GT(products_of(model.graph, {{"batch", 1}}, 32).all, 1e6);  // enough to run apart for
  std::vector<float> first;
  for (int threads : {1, 2, 3, 8}) {  // apart, but for eight
    set_thread_count(threads);
    Session session(std::make_shared<const Graph>(model.graph));
    Tensor classes = session.run(model.inputs).at("classes");
    std::span<const float> found = classes.data<float>();
    if (first.empty()) first.assign(found.begin(), found.end());
    EXPECT_TRUE(std::equal(found.begin(), found.end(), first.begin(), first.end())) << threads << " threads";
  }
}

// Enough multiplications to run apart by the fixed plan; with `ids`, results are ids of a table of two rows.
Graph large_linear(Rng& rng, bool ids) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), 64, 128});
  x = g.add(Op::linear, {x, testing::add_weight(g, "w", random_tensor(rng, {128, 128}), MatrixLayout::kOutIn)});
  if (ids) {
    ValueId table = testing::add_weight(g, "table", random_tensor(rng, {2, 4}), MatrixLayout::kOutIn);
    x = g.add(Op::embedding, {g.add(Op::cast, {x}, attributes({{"to", "s64"}})), table});
  }
  g.add_output("y", x);
  infer_shapes(g);
  return g;
}

TEST_F(Pieces, PassAnErrorOn) {
  set_thread_count(2);
  Rng rng(12);
  Session session(std::make_shared<const Graph>(large_linear(rng, true)));
  for (int i = 0; i < 3; i++) EXPECT_THROW(session.run({{"x", random_tensor(rng, {16, 64, 128}, 5)}}), InvalidData);
}

TEST_F(Pieces, OfOneSessionRunOnAnyNumberOfThreads) {
  Rng rng(13);
  Graph graph = large_linear(rng, false);
  TensorMap inputs = {{"x", random_tensor(rng, {16, 64, 128})}};
  Tensor wanted = testing::run(graph, inputs, Executor::kReference).at("y");
  set_thread_count(4);
  Session session(std::make_shared<const Graph>(graph));
  parallel_for(2, [&](int64_t tile) {  // within which there is one thread
    if (tile == 0) session.run(inputs);
  });
  for (int threads : {4, 1, 3, 8}) {
    set_thread_count(threads);
    EXPECT_LE(relative_error(session.run(inputs).at("y"), wanted), 1e-5) << threads << " threads";
  }
}

TEST_F(Pieces, ShareTheirMemory) {
  set_thread_count(2);
  Rng rng(22);
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("batch"), Dim::symbol("tokens"), 128});
  ValueId w = testing::add_weight(g, "w", random_tensor(rng, {128, 128}), MatrixLayout::kOutIn);
  g.add_output("y", g.add(Op::gelu, {g.add(Op::linear, {g.add(Op::gelu, {g.add(Op::linear, {x, w})}), w})}));
  infer_shapes(g);
  Session session(std::make_shared<const Graph>(g));
  for (int64_t tokens = 100; tokens < 110; tokens++) session.run({{"x", random_tensor(rng, {2, tokens, 128})}});
  EXPECT_LE(session.arena_bytes(), 2 * 2 * 110 * 128 * int64_t(sizeof(float)));  // two values at a time on two threads
  EXPECT_LE(session.plan().size(), 2u);
}

TEST(Items, ProductsOfFewRowsAreCounted) {
  Model model = images(1, 12);
  Products products = products_of(model.graph, {{"batch", 1}}, 32);
  EXPECT_EQ(products.all, 144.0 * (16 * 3 * 9 + 16 * 16 * 9) + 5 * 16);
  EXPECT_EQ(products.of_few_rows, 5.0 * 16);
}

TEST_F(Pieces, AreWhatAMeasuredSessionMayChoose) {
  auto directory = std::filesystem::temp_directory_path() / cat("lacuna-items-", getpid());
  setenv("XDG_CACHE_HOME", directory.c_str(), 1);
  for (auto make : {small_images, texts}) {
    Model model = make(6);
    Session session(std::make_shared<const Graph>(model.graph), {.measured_plan = true});
    TensorMap wanted = testing::run(model.graph, model.inputs, Executor::kReference);
    for (int i = 0; i < 2; i++)
      for (auto& [name, value] : session.run(model.inputs)) EXPECT_LE(relative_error(value, wanted.at(name)), 1e-5) << name;
    Model one = make(1);  // and then another batch
    TensorMap single = testing::run(one.graph, one.inputs, Executor::kReference);
    for (auto& [name, value] : session.run(one.inputs)) EXPECT_LE(relative_error(value, single.at(name)), 1e-5) << name;
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace lacuna
