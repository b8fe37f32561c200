// Transposed convolutions of the runtime against the reference.
#include <gtest/gtest.h>

#include "base/cat.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using Integers = std::vector<int64_t>;

struct Case {
  int64_t batch, in, out_per_group, groups;
  Integers input, kernel, strides, pads, dilations, output_padding;
  bool bias;
  std::string auto_pad = "NOTSET";
};

TEST(ConvTranspose, EqualsTheReference) {
  std::vector<Case> cases = {{1, 8, 5, 1, {4, 6}, {2, 2}, {2, 2}, {0, 0, 0, 0}, {1, 1}, {0, 0}, true},
                             {2, 6, 4, 2, {5, 3}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, {1, 1}, true},
                             {1, 3, 7, 1, {7, 7}, {4, 2}, {3, 1}, {2, 0, 1, 1}, {1, 2}, {2, 0}, false},
                             {1, 12, 5, 1, {4, 9}, {2, 2}, {2, 2}, {0, 0, 0, 2}, {1, 1}, {1, 0}, true},    // as large as without pads, of other sides
                             {2, 40, 70, 1, {9, 40}, {4, 4}, {2, 2}, {1, 1, 1, 1}, {1, 1}, {0, 0}, true},  // bands
                             {1, 16, 260, 1, {7, 100}, {2, 2}, {2, 2}, {0, 0, 0, 0}, {1, 1}, {0, 0}, true},
                             {2, 16, 40, 1, {3000}, {4}, {4}, {0, 0}, {1}, {0}, true},
                             {1, 16, 40, 1, {3000}, {16}, {8}, {4, 4}, {1}, {0}, false},
                             {3, 4, 1, 4, {9, 1}, {3, 1}, {1, 1}, {0, 0, 0, 0}, {2, 1}, {0, 0}, true},
                             {1, 4, 6, 1, {5, 5}, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, {0, 0}, false, "SAME_UPPER"},
                             {2, 5, 3, 1, {11}, {4}, {2}, {1, 1}, {1}, {0}, true}};
  for (const Case& c : cases)
    for (double zeros : {0.0, 0.9}) {
      Rng rng(31);
      Graph graph;
      Shape x = {c.batch, c.in}, w = {c.in, c.out_per_group};
      x.insert(x.end(), c.input.begin(), c.input.end()), w.insert(w.end(), c.kernel.begin(), c.kernel.end());
      SymShape symbolic;
      for (int64_t d : x) symbolic.push_back(Dim(d));
      Attributes a;
      a.set("strides", c.strides), a.set("dilations", c.dilations), a.set("output_padding", c.output_padding), a.set("groups", c.groups);
      if (c.auto_pad == "NOTSET") a.set("pads", c.pads);
      a.set("auto_pad", c.auto_pad);
      Tensor filters = testing::random_tensor(rng, w);
      for (float& value : filters.mutable_data<float>())
        if (rng.uniform() < zeros) value = 0;
      std::vector<ValueId> inputs = {
          graph.add_input("x", DType::kF32, symbolic),
          testing::add_weight(graph, "w", filters, zeros > 0 && c.groups == 1 ? MatrixLayout::kInOut : MatrixLayout::kNone)};
      if (c.bias) inputs.push_back(testing::add_weight(graph, "b", testing::random_tensor(rng, {c.groups * c.out_per_group})));
      graph.add_output("y", graph.add(Op::conv_transpose, inputs, a));
      infer_shapes(graph);
      TensorMap values{{"x", testing::random_tensor(rng, x)}};
      Session session(std::make_shared<const Graph>(graph));
      session.enable_profile(true);
      Tensor got = session.run(values).at("y"), want = testing::run(graph, values, Executor::kReference).at("y");
      EXPECT_EQ(session.profile()[0].kernel == "taps", c.groups > 1);
      ASSERT_EQ(got.shape(), want.shape());
      EXPECT_LE(relative_error(got, want), 1e-5) << to_string(x) << " " << to_string(w) << " " << zeros;
    }
}

}  // namespace
}  // namespace lacuna
