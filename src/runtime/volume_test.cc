// Convolutions and pools of three spatial dimensions, and pools of one: the runtime against the reference.
#include <gtest/gtest.h>

#include "base/cat.h"
#include "base/parallel.h"
#include "graph/testing.h"
#include "kernels/dispatch.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using Integers = std::vector<int64_t>;

// The runtime's y against the reference's; no step but quantize and dequantize nodes runs as the reference.
void expect_equal(Graph& graph, const TensorMap& inputs, double tolerance) {
  infer_shapes(graph);
  Session session(std::make_shared<const Graph>(graph));
  session.enable_profile(true);
  Tensor got = session.run(inputs).at("y"), want = testing::run(graph, inputs, Executor::kReference).at("y");
  for (auto& line : session.profile()) EXPECT_NE(line.kernel, "reference") << line.op;
  ASSERT_EQ(got.shape(), want.shape());
  EXPECT_LE(relative_error(got, want), tolerance);
}

SymShape fixed(const Shape& shape) { return {shape.begin(), shape.end()}; }

struct Windowed {
  Shape x;
  Integers kernel, strides, pads, dilations;
  int64_t out = 0, groups = 1;
  Attributes attributes() const {
    Attributes a;
    a.set("strides", strides), a.set("pads", pads), a.set("dilations", dilations);
    return a;
  }
};

Tensor filters(Rng& rng, const Windowed& c, double zeros) {
  Shape shape = {c.out, c.x[1] / c.groups};
  shape.insert(shape.end(), c.kernel.begin(), c.kernel.end());
  Tensor w = testing::random_tensor(rng, shape);
  for (float& value : w.mutable_data<float>())
    if (rng.uniform() < zeros) value = 0;
  return w;
}

const Windowed kVolumes[] = {{{2, 3, 5, 7, 6}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}, 8},
                             {{1, 8, 6, 9, 11}, {3, 2, 3}, {2, 1, 2}, {0, 1, 1, 2, 0, 1}, {2, 1, 1}, 5},
                             {{1, 16, 4, 8, 8}, {2, 3, 3}, {2, 2, 2}, {0, 1, 1, 0, 1, 1}, {1, 1, 1}, 32, 4},
                             {{2, 6, 4, 5, 5}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 2, 1}, 6, 6},  // depthwise
                             {{2, 16, 5, 6, 7}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0, 0, 0, 0}, {1, 1, 1}, 20},
                             {{2, 16, 9, 6, 7}, {3, 1, 1}, {2, 1, 1}, {1, 0, 0, 1, 0, 0}, {1, 1, 1}, 20},
                             {{1, 16, 9, 6, 7}, {3, 1, 1}, {1, 2, 2}, {1, 0, 0, 1, 0, 0}, {1, 1, 1}, 20},
                             {{1, 4, 3, 40, 90}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1, 0, 1, 1}, {1, 1, 1}, 8},
                             {{1, 40, 12, 60, 60}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}, 8}};  // some slices at a time

TEST(Volumes, ConvolutionsEqualTheReference) {
  for (const Windowed& c : kVolumes)
    for (double zeros : {0.0, 0.8})
      for (int threads : {1, 3}) {
        SCOPED_TRACE(cat(to_string(c.x), " ", to_string(c.kernel), " ", zeros, " ", threads));
        set_thread_count(threads);
        Rng rng(41);
        Graph graph;
        Attributes a = c.attributes();
        a.set("groups", c.groups);
        ValueId w = testing::add_weight(graph, "w", filters(rng, c, zeros), MatrixLayout::kConv);
        ValueId b = testing::add_weight(graph, "b", testing::random_tensor(rng, {c.out}));
        graph.add_output("y", graph.add(Op::relu, {graph.add(Op::conv, {graph.add_input("x", DType::kF32, fixed(c.x)), w, b}, a)}));
        expect_equal(graph, {{"x", testing::random_tensor(rng, c.x)}}, 1e-5);
      }
  set_thread_count(2);
}

// Codes that clip: a rounding that is lost is seen.
TEST(Volumes, QuantizedConvolutionsKeepTheirRoundings) {
  for (const Windowed& c : kVolumes) {
    SCOPED_TRACE(cat(to_string(c.x), " ", to_string(c.kernel)));
    Rng rng(42);
    Graph graph;
    Attributes a = c.attributes();
    a.set("groups", c.groups);
    WeightData data{.values = Tensor(DType::kS8, filters(rng, c, 0).shape()), .scales = Tensor(DType::kF32, {c.out})};
    for (int8_t& v : data.values.mutable_data<int8_t>()) v = rng.uniform() < 0.5 ? int8_t(0) : int8_t(int(rng.below(255)) - 127);
    for (float& v : data.scales.mutable_data<float>()) v = float(0.0005 + 0.001 * rng.uniform());
    ValueId w = graph.add_weight(graph.weights.add({.name = "w",
                                                    .shape = data.values.shape(),
                                                    .layout = MatrixLayout::kConv,
                                                    .encoding = {.values = DType::kS8, .granularity = Encoding::Granularity::kRow},
                                                    .source = in_memory(data)}));
    testing::Quantizer rounded{graph, 0.01f, 0, DType::kU8};
    graph.add_output("y", graph.add(Op::conv, {rounded(graph.add_input("x", DType::kF32, fixed(c.x))), w}, a));
    infer_shapes(graph);
    TensorMap inputs{{"x", testing::random_tensor(rng, c.x)}};
    Session session(std::make_shared<const Graph>(graph));
    EXPECT_LE(relative_error(session.run(inputs).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 1e-5);
    ASSERT_EQ(session.plan().size(), 1u);
    EXPECT_EQ(session.plan()[0].problem.starts_with("conv s8 "), !kernels::lacks(cpu_features(), "avx2"));
  }
}

TEST(Volumes, PoolsEqualTheReference) {
  const Windowed cases[] = {{{2, 3, 6, 8, 7}, {2, 2, 2}, {2, 2, 2}, {0, 0, 0, 0, 0, 0}, {1, 1, 1}},
                            {{1, 5, 5, 9, 9}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}},
                            {{1, 2, 7, 6, 20}, {3, 1, 2}, {2, 1, 2}, {1, 0, 0, 0, 0, 1}, {1, 1, 1}},
                            {{1, 3, 9, 8, 11}, {3, 2, 3}, {2, 1, 3}, {1, 1, 0, 0, 0, 1}, {2, 1, 2}},
                            {{2, 5, 40}, {3}, {2}, {1, 1}, {3}},
                            {{3, 4, 30}, {3}, {2}, {1, 1}, {1}},
                            {{1, 7, 101}, {2}, {2}, {0, 0}, {1}},
                            {{2, 1, 1}, {1}, {1}, {0, 0}, {1}}};
  for (const Windowed& c : cases)
    for (Op op : {Op::max_pool, Op::average_pool})
      for (int64_t padding : {0, 1, 2, 3}) {  // counted or not, rounded up or not
        SCOPED_TRACE(cat(name_of(op), " ", to_string(c.x), " ", padding));
        Rng rng(43);
        Graph graph;
        Attributes a = c.attributes();
        a.set("kernel_shape", c.kernel);
        if (op == Op::average_pool) a.set("count_include_pad", padding % 2);
        a.set("ceil_mode", padding / 2);
        graph.add_output("y", graph.add(op, {graph.add_input("x", DType::kF32, fixed(c.x))}, a));
        expect_equal(graph, {{"x", testing::random_tensor(rng, c.x)}}, op == Op::max_pool ? 0 : 1e-6);
      }
}

}  // namespace
}  // namespace lacuna
