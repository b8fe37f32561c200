// Files that lie: an error in words that names the thing, never a crash.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/cat.h"
#include "base/rng.h"
#include "graph/passes/passes.h"
#include "io/model.h"
#include "io/onnx/lacuna_onnx.pb.h"
#include "io/onnx/read.h"
#include "io/onnx/tensor_file.h"
#include "io/safetensors.h"
#include "lacuna/error.h"

namespace lacuna::onnx {
namespace {

namespace fs = std::filesystem;

// y = Relu(Gemm(x, w, b)), w and b initializers.
ModelProto small_model() {
  ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  GraphProto& graph = *model.mutable_graph();
  auto* x = graph.add_input();
  x->set_name("x");
  x->mutable_type()->mutable_tensor_type()->set_elem_type(1);
  x->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_param("batch");
  x->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(3);
  auto weight = [&](const char* name, std::vector<int64_t> dims, size_t count) {
    auto* t = graph.add_initializer();
    t->set_name(name);
    t->set_data_type(1);
    for (int64_t d : dims) t->add_dims(d);
    t->set_raw_data(std::string(count * 4, '\0'));
  };
  weight("w", {3, 2}, 6);
  weight("b", {2}, 2);
  auto node = [&](const char* name, const char* type, std::vector<std::string> inputs, const char* output) {
    auto* n = graph.add_node();
    n->set_name(name);
    n->set_op_type(type);
    for (auto& i : inputs) n->add_input(i);
    n->add_output(output);
  };
  node("gemm", "Gemm", {"x", "w", "b"}, "h");
  node("relu", "Relu", {"h"}, "y");
  graph.add_output()->set_name("y");
  return model;
}

std::shared_ptr<Graph> import(const std::string& bytes, const fs::path& path = "model.onnx") {
  auto memory = allocate(bytes.size(), false);
  if (!bytes.empty()) std::memcpy(memory.get(), bytes.data(), bytes.size());
  auto graph = import_model(parse_model(path, {memory, memory.get(), bytes.size()}));
  run_passes(*graph, import_passes());
  return graph;
}

// The message of the Error that importing throws.
std::string refusal(const ModelProto& model, const fs::path& path = "model.onnx") {
  try {
    import(model.SerializeAsString(), path);
  } catch (const Error& e) {
    return e.what();
  }
  return "imported";
}

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << text

TEST(HostileOnnx, TheSmallModelIsSound) { EXPECT_EQ(refusal(small_model()), "imported"); }

TEST(HostileOnnx, SaysWhatIsNoModel) {
  for (std::string bytes : {std::string(), std::string("hello, this is text"), std::string(100, '\0'), std::string(100, '\xff')})
    EXPECT_THROW(import(bytes), InvalidData);
  ModelProto model = small_model();
  model.clear_graph();
  EXPECT_SAYS(refusal(model), "no graph");
  model = small_model();
  model.clear_opset_import();
  EXPECT_SAYS(refusal(model), "no operator set");
  model = small_model();
  model.mutable_opset_import(0)->set_version(99);
  EXPECT_SAYS(refusal(model), "uses opset 99");
}

TEST(HostileOnnx, ListsEverythingUnsupportedInOneMessage) {
  ModelProto model = small_model();
  GraphProto& graph = *model.mutable_graph();
  for (const char* name : {"one", "two"}) {
    auto* n = graph.add_node();
    n->set_name(name);
    n->set_op_type("Frobnicate");
    n->add_input("y");
    n->add_output(name);
  }
  auto* after = graph.add_node();
  after->set_name("after");
  after->set_op_type("Relu");
  after->add_input("one");
  after->add_output("z");
  auto* attribute = after->add_attribute();
  attribute->set_name("sharpness");
  attribute->set_type(2);
  auto* text = graph.add_initializer();
  text->set_name("labels");
  text->set_data_type(8);
  std::string message = refusal(model);
  EXPECT_SAYS(message, "3 things are not supported");
  EXPECT_SAYS(message, "op Frobnicate (2 times: one, two)");
  EXPECT_SAYS(message, "Relu: attribute 'sharpness' (after)");
  EXPECT_SAYS(message, "tensors of string (labels)");
}

TEST(HostileOnnx, RefusesWeightsWhoseBytesDoNotFit) {
  ModelProto model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_raw_data("123");
  EXPECT_SAYS(refusal(model), "tensor 'w' of shape [3, 2] and type float has 3 bytes, wanted 24");
  model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_dims(0, -3);
  EXPECT_SAYS(refusal(model), "negative dimension");
  model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_dims(0, int64_t(1) << 62);
  EXPECT_SAYS(refusal(model), "overflows");
  model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_raw_data(std::string(300, 'x'));  // long enough to stay in the mapped file
  EXPECT_SAYS(refusal(model), "has 300 bytes, wanted 24");
}

TEST(HostileOnnx, IgnoresPlacesInTheFileThatTheFileItselfClaims) {
  ModelProto model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_mapped_offset(uint64_t(1) << 60);
  model.mutable_graph()->mutable_initializer(0)->set_mapped_size(24);
  EXPECT_EQ(refusal(model), "imported");
}

TEST(HostileOnnx, RefusesGraphsThatAreNone) {
  ModelProto model = small_model();
  model.mutable_graph()->mutable_node(0)->set_input(0, "y");
  EXPECT_SAYS(refusal(model), "is part of a cycle");
  model = small_model();
  model.mutable_graph()->mutable_node(0)->set_input(0, "nowhere");
  EXPECT_SAYS(refusal(model), "node 'gemm' reads 'nowhere', which nothing produces");
  model = small_model();
  model.mutable_graph()->mutable_node(1)->set_output(0, "h");
  EXPECT_SAYS(refusal(model), "produces 'h', which exists already");
  model = small_model();
  model.mutable_graph()->mutable_initializer(1)->set_name("w");
  EXPECT_SAYS(refusal(model), "two initializers are named 'w'");
  model = small_model();
  *model.mutable_graph()->add_input() = model.graph().input(0);
  EXPECT_SAYS(refusal(model), "two inputs are named 'x'");
  model = small_model();
  *model.mutable_graph()->add_output() = model.graph().output(0);
  EXPECT_SAYS(refusal(model), "two outputs are named 'y'");
  model = small_model();
  model.mutable_graph()->clear_output();
  EXPECT_SAYS(refusal(model), "no outputs");
  model = small_model();
  model.mutable_graph()->mutable_output(0)->set_name("elsewhere");
  EXPECT_SAYS(refusal(model), "nothing produces output 'elsewhere'");
  model = small_model();
  model.mutable_graph()->mutable_node(0)->clear_input();
  EXPECT_SAYS(refusal(model), "node 'gemm' (Gemm): input 0 is missing");
  model = small_model();
  model.mutable_graph()->mutable_initializer(0)->set_dims(0, 2);
  model.mutable_graph()->mutable_initializer(0)->set_dims(1, 3);
  EXPECT_SAYS(refusal(model), "gemm");  // names the node whose shapes contradict
}

TEST(HostileOnnx, RefusesNamesThatAreNotUtf8) {
  ModelProto model = small_model();
  model.mutable_graph()->mutable_node(0)->set_name("gemm\xc3");
  EXPECT_SAYS(refusal(model), "the name of a node is not UTF-8");
}

TEST(HostileOnnx, SortsNodesThatComeInAnyOrder) {
  ModelProto model = small_model();
  model.mutable_graph()->mutable_node()->SwapElements(0, 1);
  EXPECT_EQ(refusal(model), "imported");
}

TEST(HostileOnnx, ABranchThatFollowsFromShapesIsTakenAndAnOpenOneIsRefused) {
  ModelProto model = small_model();
  GraphProto& graph = *model.mutable_graph();
  auto* branch = graph.add_node();
  branch->set_name("if");
  branch->set_op_type("If");
  branch->add_input("condition");
  branch->add_output("z");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto* a = branch->add_attribute();
    a->set_name(name);
    a->set_type(5);
    auto* n = a->mutable_g()->add_node();
    n->set_op_type(name[0] == 't' ? "Tanh" : "Frobnicate");
    n->add_input("y");  // of the outer graph
    n->add_output("inner");
    a->mutable_g()->add_output()->set_name("inner");
  }
  graph.mutable_output(0)->set_name("z");
  ModelProto open = model;
  auto* input = open.mutable_graph()->add_input();
  input->set_name("condition");
  input->mutable_type()->mutable_tensor_type()->set_elem_type(9);
  input->mutable_type()->mutable_tensor_type()->mutable_shape();
  EXPECT_SAYS(refusal(open), "If: a condition that is not known before the run (if)");
  auto* condition = graph.add_initializer();
  condition->set_name("condition");
  condition->set_data_type(9);
  condition->set_raw_data(std::string(1, '\1'));
  EXPECT_EQ(refusal(model), "imported");
  graph.mutable_initializer(2)->set_raw_data(std::string(1, '\0'));
  EXPECT_SAYS(refusal(model), "op Frobnicate (if/Frobnicate_1)");
}

// small_model with a Loop whose state is `y`, doubled in every round.
ModelProto looping(const std::string& rounds, const std::string& condition) {
  ModelProto model = small_model();
  GraphProto& graph = *model.mutable_graph();
  auto* go = graph.add_initializer();
  go->set_name("go");
  go->set_data_type(9);
  go->set_raw_data(std::string(1, 1));
  auto* loop = graph.add_node();
  loop->set_name("loop");
  loop->set_op_type("Loop");
  for (auto& name : {rounds, condition, std::string("y")}) loop->add_input(name);
  loop->add_output("z");
  auto* body = loop->add_attribute();
  body->set_name("body");
  body->set_type(5);
  GraphProto& inner = *body->mutable_g();
  for (const char* name : {"i", "c", "s"}) inner.add_input()->set_name(name);
  auto* add = inner.add_node();
  add->set_op_type("Add");
  for (const char* name : {"s", "s"}) add->add_input(name);
  add->add_output("t");
  for (const char* name : {"c", "t"}) inner.add_output()->set_name(name);
  graph.mutable_output(0)->set_name("z");
  return model;
}

TEST(HostileOnnx, LoopsThatAreEndlessOpenOrCutAreRefused) {
  EXPECT_SAYS(refusal(looping("", "go")), "Loop: more than 1024 rounds");
  EXPECT_SAYS(refusal(looping("y", "go")), "Loop: a number of rounds that is not known before the run");
  EXPECT_SAYS(refusal(looping("", "y")), "Loop: a number of rounds that is not known before the run");
  ModelProto model = looping("", "go");
  NodeProto& loop = *model.mutable_graph()->mutable_node(2);
  loop.mutable_attribute(0)->mutable_g()->mutable_output()->RemoveLast();
  EXPECT_SAYS(refusal(model), "do not have the same number of states");
  loop.mutable_input()->RemoveLast();
  EXPECT_SAYS(refusal(model), "do not have the same number of states");
  loop.clear_attribute();
  EXPECT_SAYS(refusal(model), "no body");
  model = looping("", "go");
  model.mutable_graph()->mutable_node(2)->mutable_attribute(0)->mutable_g()->mutable_node(0)->set_op_type("Frobnicate");
  EXPECT_SAYS(refusal(model), "1 thing is not supported:\n  op Frobnicate (loop/");
  model = looping("", "go");
  *model.mutable_graph()->mutable_node(2)->mutable_input(2) = "";
  EXPECT_SAYS(refusal(model), "lacks a state");
}

TEST(HostileOnnx, FunctionsAreInlinedAndEndlessOnesRefused) {
  ModelProto model = small_model();
  auto* function = model.add_functions();
  function->set_domain("mine");
  function->set_name("Twice");
  function->add_input("a");
  function->add_output("c");
  function->add_opset_import()->set_version(17);
  for (auto [from, to] : {std::pair("a", "b"), std::pair("b", "c")}) {
    auto* n = function->add_node();
    n->set_op_type("LeakyRelu");
    n->add_input(from);
    n->add_output(to);
    auto* alpha = n->add_attribute();
    alpha->set_name("alpha");
    alpha->set_type(1);
    alpha->set_ref_attr_name("slope");
  }
  auto* call = model.mutable_graph()->mutable_node(1);
  call->set_domain("mine");
  call->set_op_type("Twice");
  auto* slope = call->add_attribute();
  slope->set_name("slope");
  slope->set_type(1);
  slope->set_f(0.25f);
  auto graph = import(model.SerializeAsString());
  int found = 0;
  for (auto& node : graph->nodes()) found += node.op == Op::leaky_relu && node.attributes.number("alpha", 0) == 0.25;
  EXPECT_EQ(found, 2);
  for (auto& n : *function->mutable_node()) {
    n.set_domain("mine");
    n.set_op_type("Twice");
  }
  EXPECT_SAYS(refusal(model), "nest more than");
}

class ExternalData : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "model");
    std::ofstream(folder_ / "secret") << std::string(24, 's');
    std::ofstream(folder_ / "model" / "data") << std::string(100, '\0');
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string refused(const std::string& location, const std::string& offset = "0", const std::string& length = "24") {
    ModelProto model = small_model();
    auto* w = model.mutable_graph()->mutable_initializer(0);
    w->clear_raw_data();
    w->set_data_location(1);
    for (auto& [key, value] : {std::pair("location", location), std::pair("offset", offset), std::pair("length", length)}) {
      auto* entry = w->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    return refusal(model, folder_ / "model" / "model.onnx");
  }
  const fs::path folder_ = fs::temp_directory_path() / cat("lacuna-external-", ::getpid());
};

TEST_F(ExternalData, IsReadInsideTheModelsFolderOnly) {
  EXPECT_EQ(refused("data", "64"), "imported");
  EXPECT_EQ(refused("./data"), "imported");
  EXPECT_SAYS(refused("../secret"), "is not a file inside the model's folder");
  EXPECT_SAYS(refused("sub/../../secret"), "is not a file inside the model's folder");
  EXPECT_SAYS(refused((folder_ / "secret").string()), "is not a file inside the model's folder");
  EXPECT_SAYS(refused(""), "is not a file inside the model's folder");
  fs::create_symlink(folder_ / "secret", folder_ / "model" / "link");
  EXPECT_SAYS(refused("link"), "leads out of the model's folder");
  EXPECT_SAYS(refused("missing"), "is not there");
}

TEST_F(ExternalData, IsHeldAgainstTheFilesSize) {
  EXPECT_SAYS(refused("data", "80"), "'data' has 100");
  EXPECT_SAYS(refused("data", "0", "20"), "has 20 bytes, wanted 24");
  EXPECT_SAYS(refused("data", "18446744073709551615"), "wanted a number");
  EXPECT_SAYS(refused("data", "-1"), "wanted a number");
  EXPECT_SAYS(refused("data", "eight"), "wanted a number");
}

// Every model of the fixtures, cut and with flipped bits: importing ends in a Graph or in an Error.
TEST(HostileOnnx, CutAndFlippedModelsEndInAnErrorOrAGraph) {
  SafetensorsFile fixtures(LACUNA_SOURCE_DIR "/tests/fixtures/onnx/ops.safetensors");
  Rng rng(1);
  int imported = 0, refused = 0;
  auto attempt = [&](const std::string& bytes, const std::string& what) {
    SCOPED_TRACE(what);
    try {
      import(bytes);
      imported++;
    } catch (const Error&) {
      refused++;
    }
  };
  for (auto& entry : fixtures.header().entries) {
    if (!entry.name.ends_with("/model")) continue;
    Tensor model = fixtures.tensor(entry);
    std::string bytes(reinterpret_cast<const char*>(model.raw()), model.size_bytes());
    for (int i = 0; i < 4; i++) attempt(bytes.substr(0, size_t(rng.below(int64_t(bytes.size())))), cat(entry.name, " cut ", i));
    for (int i = 0; i < 12; i++) {
      std::string flipped = bytes;
      for (int64_t n = 1 + rng.below(3); n-- > 0;) flipped[size_t(rng.below(int64_t(bytes.size())))] ^= char(1 << rng.below(8));
      attempt(flipped, cat(entry.name, " flipped ", i));
    }
  }
  EXPECT_GT(imported, 100);
  EXPECT_GT(refused, 1000);
}

TEST(OnnxTensor, RefusesWhatIsNoTensor) {
  fs::path path = fs::temp_directory_path() / cat("lacuna-tensor-", ::getpid(), ".pb");
  std::ofstream(path) << "\x08\xff\xff\xff\xff\xff";
  EXPECT_THROW(read_onnx_tensor(path), InvalidData);
  fs::remove(path);
  EXPECT_THROW(read_onnx_tensor(path), NotFound);
}

}  // namespace
}  // namespace lacuna::onnx
