#include "graph/passes/passes.h"
#include "graph/testing.h"

// Reads foreign graphs, with a few weights for them to refer to; what is accepted must survive being
// written and read again, and all passes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lacuna;
  static const WeightTable weights = [] {
    Graph g;
    testing::weight(g, "matrix", {8, 4}, MatrixLayout::kOutIn);
    testing::weight(g, "kernel", {8, 2, 3, 3}, MatrixLayout::kConv);
    testing::weight(g, "vector", {8});
    testing::vector_of(g, "shape", {0, -1, 4});
    testing::scalar(g, "index", 1);
    testing::number(g, "number", 0.5f);
    return g.weights;
  }();
  Graph graph;
  try {
    graph = graph_from_json({reinterpret_cast<const char*>(data), size}, weights);
    std::string json = graph_to_json(graph);
    if (graph_to_json(graph_from_json(json, weights)) != json) __builtin_trap();
  } catch (const InvalidData&) {
    return 0;
  }
  // A sound graph stays sound: an exception here is a bug.
  run_passes(graph, import_passes());
  return 0;
}
