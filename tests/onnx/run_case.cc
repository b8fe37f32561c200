#include "run_case.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <optional>

#include "base/cat.h"
#include "io/model.h"
#include "io/onnx/tensor_file.h"
#include "lacuna/error.h"

namespace lacuna::testing {
namespace fs = std::filesystem;

Scratch::Scratch() {
  const char* in_memory = "/dev/shm";
  std::string pattern = ((::access(in_memory, W_OK) == 0 ? fs::path(in_memory) : fs::temp_directory_path()) / "lacuna-onnx-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) throw IoError(cat(pattern, ": cannot create"));
  folder_ = pattern;
}

Scratch::~Scratch() { fs::remove_all(folder_); }

std::optional<std::string> difference(const Tensor& found, const Tensor& wanted, const CaseTolerance& tolerance, bool codes) {
  if (found.dtype() != wanted.dtype()) return cat("is ", name_of(found.dtype()), ", wanted ", name_of(wanted.dtype()));
  if (found.shape() != wanted.shape()) return cat("has shape ", to_string(found.shape()), ", wanted ", to_string(wanted.shape()));
  if (bits_of(found.dtype()) < 8) return std::nullopt;
  bool half = found.dtype() == DType::kF16 || found.dtype() == DType::kBF16;
  double relative = half ? 1e-2 : tolerance.relative, absolute = half ? 1e-2 : tolerance.absolute;
  if (is_integer(found.dtype())) relative = 0, absolute = codes ? 1 : 0;
  Tensor a = found.to(DType::kF64), b = wanted.to(DType::kF64);
  for (int64_t i = 0; i < a.size(); i++) {
    double x = a.data<double>()[size_t(i)], y = b.data<double>()[size_t(i)];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::abs(x - y) <= absolute + relative * std::abs(y))) return cat("element ", i, " is ", x, ", wanted ", y);
  }
  return std::nullopt;
}

namespace {

// input_0.pb ... of a data set; stops at the first that is missing.
std::vector<NamedTensor> read_tensors(const fs::path& folder, const char* prefix) {
  std::vector<NamedTensor> out;
  for (int i = 0;; i++) {
    fs::path path = folder / cat(prefix, "_", i, ".pb");
    if (!fs::exists(path)) return out;
    out.push_back(read_onnx_tensor(path));
  }
}

std::optional<std::string> run_data_set(Session& session, const fs::path& folder, const CaseTolerance& tolerance) {
  auto inputs = read_tensors(folder, "input"), outputs = read_tensors(folder, "output");
  TensorMap map;
  auto names = session.graph().inputs();
  for (size_t i = 0; i < inputs.size(); i++) {
    bool named = !inputs[i].name.empty() &&
                 std::any_of(names.begin(), names.end(), [&](ValueId v) { return session.graph().value(v).name == inputs[i].name; });
    if (!named && i >= names.size()) return cat("input ", i, " has no place");
    map[named ? inputs[i].name : session.graph().value(names[i]).name] = inputs[i].values;
  }
  TensorMap found = session.run(map);
  for (size_t i = 0; i < outputs.size(); i++) {
    std::string name = session.graph().outputs()[i].name;
    if (auto d = difference(found.at(name), outputs[i].values, tolerance)) return cat("output '", name, "' ", *d);
  }
  return std::nullopt;
}

}  // namespace

CaseResult run_case(const fs::path& directory, Executor executor, const CaseTolerance& tolerance, const fs::path& scratch) {
  using Status = CaseResult::Status;
  int opset = 0;
  try {
    auto graph = read_onnx(directory / "model.onnx");
    opset = std::stoi(graph->metadata.at("onnx.opset"));
    if (!scratch.empty()) {
      write_onnx(*graph, scratch);
      graph = read_onnx(scratch);
    }
    Session session(graph, {.executor = executor});
    for (int n = 0; fs::exists(directory / cat("test_data_set_", n)); n++)
      if (auto problem = run_data_set(session, directory / cat("test_data_set_", n), tolerance)) return {Status::kFailed, *problem, opset};
    return {Status::kPassed, "", opset};
  } catch (const Unsupported& e) {
    return {Status::kUnsupported, e.what(), opset};
  } catch (const std::exception& e) {
    return {Status::kFailed, e.what(), opset};
  }
}

}  // namespace lacuna::testing
