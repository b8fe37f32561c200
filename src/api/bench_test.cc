#include "lacuna/bench.h"

#include "graph/infer.h"
#include "io/lacuna_directory.h"
#include "io/testing.h"

namespace lacuna {
namespace {

TEST(Bench, SaysWhenMostOfARunGoesToOpsWithoutAFastPath) {
  TemporaryDirectory directory;
  for (Op op : {Op::atan, Op::relu}) {
    Graph graph;
    Tensor values(DType::kF32, {4, 4});
    for (float& v : values.mutable_data<float>()) v = 1;
    WeightId id =
        graph.weights.add({.name = "w", .shape = {4, 4}, .layout = MatrixLayout::kOutIn, .encoding = {}, .source = in_memory({.values = values})});
    ValueId y = graph.add(Op::linear, {graph.add_input("x", DType::kF32, {Dim(4096), Dim(4)}), graph.add_weight(id)});
    for (int i = 0; i < 16; i++) y = graph.add(op, {y});  // far more than the tenth that is said
    graph.add_output("y", y);
    infer_shapes(graph);
    Model model{.kind = ModelKind::kHuggingFace, .path = directory.path(), .graph = std::make_shared<Graph>(graph)};
    auto path = directory / std::string(name_of(op));
    save_lacuna(model, path, false);
    BenchReport report = bench(path, {.threads = {1}, .precisions = {"f32"}, .runs = 1});
    int64_t remarks = 0;
    for (const std::string& remark : report.needs_attention) remarks += remark.find("without a fast path, atan above all") != std::string::npos;
    EXPECT_EQ(remarks, op == Op::atan) << name_of(op);
  }
}

}  // namespace
}  // namespace lacuna
