// One model with recorded inputs and outputs: DIR/model.onnx, DIR/test_data_set_N/input_M.pb and output_M.pb, the layout of the
// ONNX project's own tests and of our fixtures.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "runtime/session.h"

namespace lacuna::testing {

struct CaseResult {
  enum class Status { kPassed, kFailed, kUnsupported } status;
  std::string message;
  int opset = 0;  // 0: not imported
};

struct CaseTolerance {
  double relative = 1e-3, absolute = 1e-5;
};

// A folder that vanishes with the test; in memory where the machine has such a file system, because every file that is written is synced,
// which a user's outputs need and thousands of tests would wait for.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::filesystem::path operator/(const char* name) const { return folder_ / name; }

 private:
  std::filesystem::path folder_;
};

// nullopt, or how the two differ: type, shape or an element. Integers must be equal but for `codes` (quantized outputs may round the
// other way: one off).
std::optional<std::string> difference(const Tensor& found, const Tensor& wanted, const CaseTolerance& tolerance, bool codes = false);

// Imports, runs every data set and compares names, types, shapes and values. With `exported`, what is run is the model exported
// into `scratch` and imported again.
CaseResult run_case(const std::filesystem::path& directory, Executor executor, const CaseTolerance& tolerance,
                    const std::filesystem::path& scratch = {});

}  // namespace lacuna::testing
