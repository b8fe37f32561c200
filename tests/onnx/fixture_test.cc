// tests/fixtures/onnx/*.safetensors: tiny models with inputs and the outputs of ONNX Runtime, made by tools/fixtures/onnx_ops.py and
// onnx_models.py. Per case: NAME/model (the file's bytes), NAME/input/INPUT, NAME/output/OUTPUT.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/cat.h"
#include "io/model.h"
#include "io/onnx/importer.h"
#include "io/safetensors.h"
#include "lacuna/error.h"
#include "run_case.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

struct Fixture {
  Tensor model;
  TensorMap inputs, outputs;
};

std::map<std::string, Fixture> read_fixtures(const char* file) {
  SafetensorsFile tensors(fs::path(LACUNA_SOURCE_DIR "/tests/fixtures/onnx") / file);
  std::map<std::string, Fixture> out;
  for (auto& entry : tensors.header().entries) {
    size_t first = entry.name.find('/'), second = entry.name.find('/', first + 1);
    Fixture& fixture = out[entry.name.substr(0, first)];
    std::string part = entry.name.substr(first + 1, second == std::string::npos ? std::string::npos : second - first - 1);
    Tensor values = tensors.tensor(entry);
    if (part == "model")
      fixture.model = values;
    else
      (part == "input" ? fixture.inputs : fixture.outputs)[entry.name.substr(second + 1)] = values;
  }
  return out;
}

void expect_outputs(std::shared_ptr<const Graph> graph, Executor executor, const Fixture& fixture, const testing::CaseTolerance& tolerance) {
  Session session(graph, {.executor = executor});
  TensorMap found = session.run(fixture.inputs);
  ASSERT_EQ(found.size(), fixture.outputs.size());
  for (auto& [name, wanted] : fixture.outputs) {
    ASSERT_TRUE(found.contains(name)) << name;
    if (auto d = testing::difference(found.at(name), wanted, tolerance, true)) ADD_FAILURE() << "output '" << name << "' " << *d;
  }
}

using ToleranceOf = testing::CaseTolerance (*)(const std::string& name);

void expect_all(const char* file, ToleranceOf tolerance_of, size_t at_least) {
  testing::Scratch scratch;
  auto fixtures = read_fixtures(file);
  EXPECT_GE(fixtures.size(), at_least);
  for (auto& [name, fixture] : fixtures) {
    SCOPED_TRACE(name);
    testing::CaseTolerance tolerance = tolerance_of(name);
    try {
      fs::path model = scratch / "model.onnx", exported = scratch / "exported.onnx";
      write_file(model, std::string_view(reinterpret_cast<const char*>(fixture.model.raw()), fixture.model.size_bytes()));
      auto graph = read_onnx(model);
      expect_outputs(graph, Executor::kReference, fixture, tolerance);
      expect_outputs(graph, Executor::kRuntime, fixture, tolerance);
      write_onnx(*graph, exported);
      SCOPED_TRACE("exported and imported again");
      expect_outputs(read_onnx(exported), Executor::kReference, fixture, tolerance);
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

TEST(OnnxOps, GiveWhatOnnxRuntimeGivesAlsoAfterExport) {
  expect_all(
      "ops.safetensors", [](const std::string&) { return testing::CaseTolerance{.relative = 1e-4, .absolute = 2e-6}; }, 809);
}

// Families as exporters write them; the quantized ones may round the other way on the path.
TEST(OnnxModels, GiveWhatOnnxRuntimeGivesAlsoAfterExport) {
  expect_all(
      "models.safetensors",
      [](const std::string& name) {
        if (name.starts_with("quantized")) return testing::CaseTolerance{.relative = 2e-2, .absolute = 2e-2};
        return testing::CaseTolerance{.relative = 1e-4, .absolute = 1e-5};
      },
      29);
}

TEST(OnnxModels, ALoopThatIsARecurrentLayerBecomesOneAndOthersAreWrittenOutWithTheirWeightsShared) {
  testing::Scratch scratch;
  auto fixtures = read_fixtures("models.safetensors");
  auto graph_of = [&](const char* name) {
    const Tensor& model = fixtures.at(name).model;
    write_file(scratch / "model.onnx", std::string_view(reinterpret_cast<const char*>(model.raw()), model.size_bytes()));
    return read_onnx(scratch / "model.onnx");
  };
  auto count = [](const Graph& graph, Op op) { return std::ranges::count_if(graph.nodes(), [&](auto& node) { return node.op == op; }); };
  auto matrices = [](const Graph& graph) {
    return std::count_if(graph.weights.begin(), graph.weights.end(),
                         [](auto& weight) { return weight.layout != MatrixLayout::kNone && weight.shape.size() >= 2; });
  };
  auto gru = graph_of("keras_gru_opset15"), rounds = graph_of("loop_opset13");
  EXPECT_EQ(count(*gru, Op::gru), 1);
  EXPECT_EQ(count(*gru, Op::linear) + count(*gru, Op::matmul), 0);
  EXPECT_EQ(matrices(*gru), 2);
  EXPECT_EQ(count(*rounds, Op::matmul), 6);  // three rounds of two
  EXPECT_EQ(count(*rounds, Op::split), 1);   // of the weight that both read
}

// Versions that ONNX Runtime has no kernel for, so that no expected values could be made.
const std::set<std::string> kWithoutFixture = {"GlobalLpPool-22"};

TEST(OnnxOps, HaveAFixtureOfEveryVersion) {
  auto fixtures = read_fixtures("ops.safetensors");
  for (auto& op : onnx::all_ops())
    for (int version : op.versions) {
      std::string name = cat(op.domain, op.domain.empty() ? "" : ".", op.type, "-", version);
      if (kWithoutFixture.contains(name)) continue;
      auto it = fixtures.lower_bound(name);
      bool there = it != fixtures.end() && (it->first == name || it->first.starts_with(name + "-"));
      EXPECT_TRUE(there) << name;
    }
}

}  // namespace
}  // namespace lacuna
