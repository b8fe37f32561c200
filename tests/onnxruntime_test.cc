// The program beside ONNX Runtime on real networks. ./dev test names a Python that has ONNX Runtime in LACUNA_TEST_PYTHON.
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

INSTANTIATE_TEST_SUITE_P(Cifar10, OnnxRuntime, ::testing::Values("resnet20.onnx", "resnet56.onnx"),
                         [](auto& info) { return info.param.substr(0, info.param.find('.')); });

}  // namespace
}  // namespace lacuna::test
