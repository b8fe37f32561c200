// The program beside ONNX Runtime on real networks. ./dev test names a Python that has ONNX Runtime in LACUNA_TEST_PYTHON.
#include <algorithm>
#include <cmath>
#include <random>

#include "io/npy.h"
#include "program.h"
#include "tensor/tensor.h"

namespace lacuna::test {
namespace {

struct OnnxRuntime : Program, ::testing::WithParamInterface<std::string> {};

double relative_difference(const Tensor& found, const Tensor& wanted) {
  double largest = 0, difference = 0;
  auto a = found.data<float>(), b = wanted.data<float>();
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < b.size(); i++) {
    largest = std::max(largest, std::abs(double(b[i])));
    difference = std::max(difference, std::abs(double(a[i]) - b[i]));
  }
  return difference / largest;
}

TEST_P(OnnxRuntime, GivesTheOutputsOfBothExecutors) {
  const std::string model = (kData / "cifar10" / GetParam()).string();
  LACUNA_NEEDS(model);
  const char* python = std::getenv("LACUNA_TEST_PYTHON");
  if (!python || std::system((std::string(python) + " -c 'import onnxruntime, numpy' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "missing: LACUNA_TEST_PYTHON, a Python with onnxruntime";

  for (int64_t batch : {1, 5}) {
    Tensor x(DType::kF32, {batch, 3, 32, 32});
    std::mt19937 random{unsigned(batch)};
    std::normal_distribution<float> normal;
    for (float& value : x.mutable_data<float>()) value = normal(random);
    write_npy(at("x.npy"), x);
    std::filesystem::create_directories(at("theirs"));
    std::string command =
        std::string(python) + " " LACUNA_SOURCE_DIR "/tests/onnxruntime_outputs.py " + model + " input=" + at("x.npy") + " " + at("theirs");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    Tensor wanted = read_npy(at("theirs/logits.npy"));
    for (std::string executor : {"runtime", "reference"}) {
      Result r = lacuna("run " + model + " --inputs input=" + at("x.npy") + " --outputs " + at(executor + std::to_string(batch)) + " --executor " +
                        executor);
      ASSERT_EQ(r.status, 0) << r.err;
      EXPECT_LT(relative_difference(read_npy(at(executor + std::to_string(batch) + "/logits.npy")), wanted), 1e-4) << executor << ", batch " << batch;
    }
  }
}

struct QuantizedOnnxRuntime : Program, ::testing::WithParamInterface<std::string> {};

// Activations are codes, so results differ by whole codes of the last rounding where a sum falls between two: ONNX Runtime differs as much from
// itself without its optimizations.
TEST_P(QuantizedOnnxRuntime, GivesTheOutputsOfBothExecutorsUpToACode) {
  const std::string model = (kData / "cifar10" / "resnet20.onnx").string();
  LACUNA_NEEDS(model);
  const char* python = std::getenv("LACUNA_TEST_PYTHON");
  if (!python || std::system((std::string(python) + " -c 'import onnxruntime.quantization' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "missing: LACUNA_TEST_PYTHON, a Python with onnxruntime and onnx";
  // A copy, as the quantizer writes a file of its own beside the model, which would be that of another test too.
  std::filesystem::copy_file(model, at("model.onnx"));
  std::string quantized = at("quantized.onnx");
  std::string command = std::string(python) + " " LACUNA_SOURCE_DIR "/tests/quantized_onnx.py " + at("model.onnx") + " " + quantized + " " +
                        GetParam() + " >/dev/null 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  constexpr int64_t kBatch = 8, kClasses = 10;
  Tensor x(DType::kF32, {kBatch, 3, 32, 32});
  std::mt19937 random{3};
  std::normal_distribution<float> normal;
  for (float& value : x.mutable_data<float>()) value = normal(random);
  write_npy(at("x.npy"), x);
  std::filesystem::create_directories(at("theirs"));
  command = std::string(python) + " " LACUNA_SOURCE_DIR "/tests/onnxruntime_outputs.py " + quantized + " input=" + at("x.npy") + " " + at("theirs");
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  Tensor wanted = read_npy(at("theirs/logits.npy"));
  for (std::string executor : {"runtime", "reference"}) {
    Result r = lacuna("run " + quantized + " --inputs input=" + at("x.npy") + " --outputs " + at(executor) + " --executor " + executor);
    ASSERT_EQ(r.status, 0) << r.err;
    Tensor found = read_npy(at(executor + "/logits.npy"));
    EXPECT_LT(relative_difference(found, wanted), 0.02) << executor;
    // The same class leads, or one whose logit is the same up to a code (1 % of the range).
    for (int64_t i = 0; i < kBatch; i++) {
      auto ours = found.data<float>().subspan(size_t(i * kClasses), size_t(kClasses)),
           theirs = wanted.data<float>().subspan(size_t(i * kClasses), size_t(kClasses));
      auto leader = std::max_element(ours.begin(), ours.end()) - ours.begin();
      auto [least, most] = std::minmax_element(theirs.begin(), theirs.end());
      EXPECT_GE(theirs[size_t(leader)], *most - 0.01f * (*most - *least)) << executor << ", image " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cifar10, QuantizedOnnxRuntime, ::testing::Values("qdq u8", "qdq s8", "qoperator u8", "qoperator s8"), [](auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});
INSTANTIATE_TEST_SUITE_P(Cifar10, OnnxRuntime, ::testing::Values("resnet20.onnx", "resnet56.onnx"),
                         [](auto& info) { return info.param.substr(0, info.param.find('.')); });

}  // namespace
}  // namespace lacuna::test
