#include "lacuna/convert.h"

#include <algorithm>

#include "base/cat.h"
#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/output_directory.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

std::string kind_for(const ConvertOptions& options, const std::filesystem::path& output, ModelKind source) {
  if (!options.to.empty()) return options.to;
  std::string extension = output.extension().string();
  if (extension == ".onnx" || extension == ".gguf") return extension.substr(1);
  return std::string(name_of(source));
}

void check_file_name(const std::filesystem::path& output, const std::string& kind) {
  if (std::filesystem::is_directory(output) || !output.has_filename())
    throw InvalidArgument(cat(output, ": is a directory; ", kind, " is one file and does not replace it"));
  // By their names tools know such files again, Lacuna too.
  if (output.extension() != "." + kind) throw InvalidArgument(cat(output, ": wanted a name that ends in .", kind));
}

}  // namespace

ConvertReport convert(const std::filesystem::path& path, const std::filesystem::path& output, const ConvertOptions& options, Progress* progress) {
  check_replaceable(output, options.force, path);
  Model model = load_model(path);
  ConvertReport report{.from = std::string(name_of(model.kind)), .to = kind_for(options, output, model.source_kind), .output = output.string()};
  const Graph& graph = *model.graph;
  if (!options.encoding.empty() && report.to != "gguf") throw InvalidArgument(cat("--encoding is for GGUF; the output is ", report.to));
  bool from_onnx = model.source_kind == ModelKind::kOnnx;
  if (report.to == "onnx") {
    if (!from_onnx)
      throw Unsupported(
          cat("converting ", name_of(model.source_kind), " to onnx: a model is written as the kind it came from, here ", name_of(model.source_kind)));
    check_file_name(output, report.to);
    if (auto source = onnx_source_facts(graph)) report.onnx_before = {source->nodes, source->opset};
    OnnxFacts written = write_onnx(graph, output, progress);
    report.onnx_after = {written.nodes, written.opset};
  } else if (report.to == "huggingface") {
    if (from_onnx) throw Unsupported("converting onnx to huggingface: a model is written as the kind it came from, here onnx");
    write_huggingface(graph, model.path, output, progress, options.force);
  } else if (report.to == "gguf") {
    if (from_onnx) throw Unsupported("converting onnx to gguf: a model is written as the kind it came from, here onnx");
    check_file_name(output, report.to);
    write_gguf(graph, model.path, output, options.encoding, progress, options.force);
  } else if (report.to == "lacuna") {
    save_lacuna(model, output, options.force, progress);
  } else {
    throw InvalidArgument(cat("--to '", report.to, "' is unknown; known: onnx, huggingface, gguf, lacuna"));
  }
  bool rounds = std::any_of(graph.nodes().begin(), graph.nodes().end(), [](auto& node) { return node.attributes.has("activations"); });
  if (rounds && (report.to == "huggingface" || report.to == "gguf"))
    report.needs_attention.push_back(
        cat("linear layers round their activations to s8, which ", report.to, " cannot say: the output runs with unrounded ones"));
  if (rounds && report.to == "onnx")
    report.needs_attention.push_back(
        "linear layers round their activations per token; the output rounds them with one scale per tensor (DynamicQuantizeLinear)");
  report.bytes = bytes_on_disk(output);
  // A Lacuna directory stores what another tool pruned under a mask.
  std::shared_ptr<const Graph> written = report.to == "lacuna" ? load_model(output).graph : model.graph;
  for (auto& weight : written->weights) {
    report.weights++;
    if (weight.layout == MatrixLayout::kNone) continue;
    WeightData data = weight.load();
    if (data.mask) report.zeros += weight.size() - data.mask->count_kept();
    weight.source->drop();
  }
  return report;
}

}  // namespace lacuna
