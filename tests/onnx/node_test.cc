// The ONNX project's node tests. They ship in its PyPI package up to 1.16 (onnx/backend/test/data/node), those of each release in the
// opset of its day; LACUNA_ONNX_NODE_TESTS names the folders, separated by colons.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "base/cat.h"
#include "run_case.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Status = testing::CaseResult::Status;

// Cases whose recorded outputs contradict the specification or ONNX Runtime, which skips them too; some were mended in a later opset.
struct Broken {
  std::string reason;
  int newest_opset = 1000;
};
const std::map<std::string, Broken> kBroken = {
    {"test_cast_BFLOAT16_to_FLOAT", {"records bf16 as u16"}},
    {"test_cast_FLOAT_to_BFLOAT16", {"records bf16 as u16"}},
    {"test_castlike_BFLOAT16_to_FLOAT", {"records bf16 as u16"}},
    {"test_castlike_FLOAT_to_BFLOAT16", {"records bf16 as u16"}},
    {"test_castlike_BFLOAT16_to_FLOAT_expanded", {"records bf16 as u16"}},
    {"test_castlike_FLOAT_to_BFLOAT16_expanded", {"records bf16 as u16"}},
    {"test_qlinearmatmul_2D_int8_float16", {"wraps instead of saturating"}},
    {"test_qlinearmatmul_2D_int8_float32", {"wraps instead of saturating"}},
    {"test_qlinearmatmul_3D_int8_float16", {"wraps instead of saturating"}},
    {"test_qlinearmatmul_3D_int8_float32", {"wraps instead of saturating"}},
    {"test_resize_downsample_scales_cubic_align_corners", {"takes the unrounded output size; ONNX Runtime and PyTorch take the rounded one"}},
    {"test_resize_downsample_scales_linear_align_corners", {"takes the unrounded output size; ONNX Runtime and PyTorch take the rounded one"}},
    {"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True", {"counts positions beyond the padding"}},
    {"test_convtranspose_output_shape", {"gives an output shape with batch and channels", 8}},
    {"test_shrink", {"records an input of another shape than the model's", 9}},
    {"test_resize_upsample_sizes_nearest_ceil_half_pixel", {"lacks its nearest_mode", 11}},
    {"test_resize_upsample_sizes_nearest_floor_align_corners", {"lacks its nearest_mode", 11}},
    {"test_resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric", {"lacks its nearest_mode", 11}},
    {"test_convtranspose_autopad_same", {"pads as SAME_UPPER what says SAME_LOWER", 14}},
};

std::vector<fs::path> folders() {
  std::vector<fs::path> out;
  const char* variable = std::getenv("LACUNA_ONNX_NODE_TESTS");
  std::string list = variable ? variable : "";
  for (size_t begin = 0; begin < list.size();) {
    size_t end = std::min(list.find(':', begin), list.size());
    if (fs::is_directory(list.substr(begin, end - begin))) out.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

struct Way {
  const char* name;
  Executor executor;
  bool exported;  // what is run is the model written as ONNX again
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class NodeTests : public ::testing::TestWithParam<Way> {};

TEST_P(NodeTests, EveryModelThatImportsGivesTheRecordedOutputs) {
  if (folders().empty()) GTEST_SKIP() << "LACUNA_ONNX_NODE_TESTS names no folder of ONNX node tests";
  int passed = 0, unsupported = 0, broken = 0;
  testing::Scratch scratch;
  const char* filter = std::getenv("LACUNA_ONNX_NODE_FILTER");
  for (auto& folder : folders()) {
    std::set<fs::path> cases;
    for (auto& entry : fs::directory_iterator(folder)) cases.insert(entry.path());
    for (auto& directory : cases) {
      std::string name = directory.filename();
      if (!fs::exists(directory / "model.onnx") || (filter && name.find(filter) == std::string::npos)) continue;
      auto result = testing::run_case(directory, GetParam().executor, {}, GetParam().exported ? scratch / "exported.onnx" : fs::path());
      if (auto known = kBroken.find(name); known != kBroken.end() && result.opset <= known->second.newest_opset) {
        broken++;
        continue;
      }
      passed += result.status == Status::kPassed;
      unsupported += result.status == Status::kUnsupported;
      if (result.status == Status::kFailed) ADD_FAILURE() << directory.string() << ": " << result.message;
      if (result.status == Status::kUnsupported && std::getenv("LACUNA_ONNX_NODE_VERBOSE")) std::cout << name << ": " << result.message << "\n";
    }
  }
  RecordProperty("passed", passed);
  RecordProperty("unsupported", unsupported);
  std::cout << passed << " node tests pass, " << unsupported << " use what is not supported, " << broken << " are left out as broken\n";
}

INSTANTIATE_TEST_SUITE_P(Ways, NodeTests,
                         ::testing::Values(Way{"reference", Executor::kReference, false}, Way{"runtime", Executor::kRuntime, false},
                                           Way{"exported", Executor::kReference, true}),
                         [](auto& info) { return info.param.name; });

}  // namespace
}  // namespace lacuna
