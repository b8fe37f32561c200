#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>

#include "base/cat.h"
#include "graph/passes/passes.h"
#include "io/model.h"
#include "io/onnx/exporter.h"
#include "io/onnx/files.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/read.h"
#include "io/onnx/writer.h"
#include "io/safetensors.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<Graph> read_unraised(const fs::path& path) { return import_model(open_model(path)); }

class Export : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  // A model of tests/fixtures/onnx/models.safetensors as a file.
  fs::path fixture(const std::string& name) {
    SafetensorsFile fixtures(LACUNA_SOURCE_DIR "/tests/fixtures/onnx/models.safetensors");
    Tensor bytes = fixtures.tensor(*fixtures.find(name + "/model"));
    fs::path path = folder_ / (name + ".onnx");
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.raw()), std::streamsize(bytes.size_bytes()));
    return path;
  }
  const fs::path folder_ = fs::temp_directory_path() / cat("lacuna-export-", ::getpid());
};

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && (a.size_bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.size_bytes()) == 0);
}

std::string structure(Graph graph) {
  graph.metadata.clear();
  infer_shapes(graph);
  return graph_to_json(graph);
}

// Names, types, layouts, encodings and values of every weight of `a` that nodes read are in `b`.
void expect_same_weights(const Graph& a, const Graph& b) {
  auto users = a.all_users();
  for (auto& value : a.values()) {
    if (value.kind != ValueKind::kWeight || users[size_t(&value - a.values().data())].empty()) continue;
    const Weight& weight = a.weights[value.weight];
    WeightId id = b.weights.find(weight.name);
    ASSERT_GE(id, 0) << weight.name;
    const Weight& other = b.weights[id];
    EXPECT_EQ(weight.shape, other.shape) << weight.name;
    EXPECT_EQ(weight.layout, other.layout) << weight.name;
    EXPECT_EQ(to_string(weight.encoding), to_string(other.encoding)) << weight.name;
    WeightData x = weight.load(), y = other.load();
    EXPECT_TRUE(same_bytes(x.values, y.values) && same_bytes(x.scales, y.scales) && same_bytes(x.zero_points, y.zero_points)) << weight.name;
  }
}

TEST_F(Export, ImportingWhatWasExportedGivesTheSameGraph) {
  for (const char* name :
       {"mlp_opset13", "mlp_opset17", "mlp_opset21", "mlp_half", "vgg_opset9", "mobilenet_v2_opset11", "mobilenet_v2_opset18", "mobilenet_v3_opset12",
        "squeezenet_opset13", "shufflenet_opset13", "densenet_opset10", "efficientnet_opset15", "yolo_opset12", "crnn_opset13", "bert_opset14",
        "bert_opset17", "quantized_mobilenet_QDQ_QInt8_row", "quantized_mobilenet_QDQ_QUInt8_tensor"}) {
    SCOPED_TRACE(name);
    auto first = read_unraised(fixture(name));
    write_onnx(*first, folder_ / "out.onnx");
    auto second = read_unraised(folder_ / "out.onnx");
    expect_same_weights(*first, *second);
    write_onnx(*second, folder_ / "again.onnx");
    auto third = read_unraised(folder_ / "again.onnx");
    EXPECT_EQ(structure(*second), structure(*third));
    EXPECT_EQ(first->nodes().size(), second->nodes().size());
    for (size_t i = 0; i < std::min(first->nodes().size(), second->nodes().size()); i++) {
      const Node &a = first->nodes()[i], &b = second->nodes()[i];
      EXPECT_EQ(name_of(a.op), name_of(b.op)) << a.name;
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.block, b.block);
      EXPECT_EQ(a.inputs.size(), b.inputs.size()) << a.name;
      EXPECT_EQ(a.attributes, b.attributes) << a.name;
    }
  }
}

TEST_F(Export, KeepsNamesOfInputsOutputsAndDimensions) {
  write_onnx(*read_onnx(fixture("shufflenet_opset13")), folder_ / "out.onnx");
  ModelFile file = open_model(folder_ / "out.onnx");
  const GraphProto& graph = file.model->graph();
  ASSERT_EQ(graph.input_size(), 1);
  EXPECT_EQ(graph.input(0).name(), "input");
  auto& dims = graph.input(0).type().tensor_type().shape().dim();
  ASSERT_EQ(dims.size(), 4);
  EXPECT_EQ(dims[0].dim_param(), "batch");
  EXPECT_EQ(dims[1].dim_value(), 3);
  EXPECT_EQ(dims[3].dim_param(), "width");
  EXPECT_EQ(graph.output(0).name(), "output");
  EXPECT_EQ(file.model->opset_import(0).version(), 17);
  write_onnx(*read_onnx(fixture("mlp_opset21")), folder_ / "out.onnx");
  EXPECT_EQ(open_model(folder_ / "out.onnx").model->opset_import(0).version(), 21);
}

// Every other weight of row r and column c removed.
Mask checkered(const Weight& weight) {
  MatrixView view(weight.layout, weight.shape);
  Mask mask(view.rows, view.cols, true);
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t c = r % 2; c < view.cols; c += 2) mask.set(r, c, false);
  return mask;
}

TEST_F(Export, WritesMaskedWeightsDenseWithZeros) {
  for (const char* name : {"mobilenet_v2_opset11", "quantized_mobilenet_QDQ_QUInt8_tensor", "quantized_mobilenet_QDQ_QInt8_row", "mlp_half"}) {
    SCOPED_TRACE(name);
    auto graph = read_onnx(fixture(name));
    int masked = 0;
    for (auto& use : weight_uses(*graph)) {
      Weight& weight = graph->weights.edit(use.weight);
      if (weight.layout == MatrixLayout::kNone) continue;
      WeightData data = weight.load();
      data.mask = checkered(weight);
      weight.source = in_memory(data);
      masked++;
    }
    ASSERT_GT(masked, 2);
    write_onnx(*graph, folder_ / "out.onnx");
    auto back = read_onnx(folder_ / "out.onnx");
    for (auto& weight : graph->weights) {
      if (weight.layout == MatrixLayout::kNone) continue;
      const Weight& other = back->weights[back->weights.find(weight.name)];
      EXPECT_EQ(to_string(weight.encoding), to_string(other.encoding));
      EXPECT_EQ(absolute_error(decode_f32(weight, weight.load()), decode_f32(other, other.load())), 0) << weight.name;
    }
  }
}

// ONNX Runtime's optimizer divides biases by the scales of weights.
TEST_F(Export, WritesNoScaleOfZeroForRowsOfZeros) {
  auto graph = read_onnx(fixture("quantized_mobilenet_QDQ_QInt8_row"));
  std::map<std::string, float> largest;
  for (auto& use : weight_uses(*graph)) {
    Weight& weight = graph->weights.edit(use.weight);
    if (weight.layout == MatrixLayout::kNone || weight.encoding.granularity != Encoding::Granularity::kRow) continue;
    WeightData data = weight.load();
    data.scales = data.scales.clone();
    const MatrixView view(weight.layout, weight.shape);
    Mask mask(view.rows, view.cols, true);
    for (int64_t c = 0; c < view.cols; c++) mask.set(1, c, false);
    data.mask = mask;
    data.scales.mutable_data<float>()[1] = 0;
    for (float scale : data.scales.data<float>()) largest[weight.name] = std::max(largest[weight.name], scale);
    weight.source = in_memory(data);
  }
  ASSERT_GT(largest.size(), 2u);
  write_onnx(*graph, folder_ / "out.onnx");
  auto back = read_onnx(folder_ / "out.onnx");
  for (auto& [name, scale] : largest) {
    const Weight &weight = graph->weights[graph->weights.find(name)], &other = back->weights[back->weights.find(name)];
    EXPECT_EQ(other.load().scales.data<float>()[1], scale) << name;
    EXPECT_EQ(absolute_error(decode_f32(weight, weight.load()), decode_f32(other, other.load())), 0) << name;
  }
}

TEST_F(Export, PutsTheValuesBesideAModelThatIsTooLarge) {
  auto graph = read_unraised(fixture("bert_opset14"));
  write_model(lower_graph(*graph), *graph, folder_ / "large.onnx", nullptr, 1000);
  EXPECT_TRUE(fs::exists(folder_ / "large.onnx.data"));
  ModelFile file = open_model(folder_ / "large.onnx");
  for (auto& t : file.model->graph().initializer()) EXPECT_EQ(t.data_location(), 1);
  expect_same_weights(*graph, *read_unraised(folder_ / "large.onnx"));
  std::ofstream(folder_ / "other.onnx.data") << "of another model";
  EXPECT_EQ(files_of_model(folder_ / "large.onnx"), (std::vector<fs::path>{folder_ / "large.onnx", folder_ / "large.onnx.data"}));
}

TEST_F(Export, LeavesWhatIsThereAloneWhenItFails) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim(1), Dim(2), Dim(8)});
  ValueId k = graph.add_state("k", DType::kF32, {Dim(1), Dim(2), Dim(16), Dim(4)}),
          v = graph.add_state("v", DType::kF32, {Dim(1), Dim(2), Dim(16), Dim(4)});
  Attributes attributes = with({{"heads", int64_t(2)}, {"kv_heads", int64_t(2)}, {"head_dim", int64_t(4)}});
  graph.add_output("y", graph.add(Op::attention, {x, x, x, kNoValue, k, v}, attributes, "attention"));
  std::ofstream(folder_ / "out.onnx") << "before";
  try {
    write_onnx(graph, folder_ / "out.onnx");
    FAIL() << "a cache was exported";
  } catch (const Unsupported& e) {
    EXPECT_NE(std::string(e.what()).find("attention"), std::string::npos) << e.what();
  }
  std::string text;
  std::ifstream(folder_ / "out.onnx") >> text;
  EXPECT_EQ(text, "before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace lacuna::onnx
