#include "lacuna/inspect.h"

#include "cli/cli.h"

namespace lacuna::cli {
namespace {

void print(const ModelSummary& m, bool weights) {
  std::printf("%s: %s%s%s\n", m.path.c_str(), m.kind.c_str(), m.family.empty() || m.family == m.kind ? "" : ", ",
              m.family == m.kind ? "" : m.family.c_str());
  for (auto& port : m.inputs) std::printf("  input   %s %s %s\n", port.name.c_str(), port.dtype.c_str(), port.shape.c_str());
  for (auto& port : m.outputs) std::printf("  output  %s %s %s\n", port.name.c_str(), port.dtype.c_str(), port.shape.c_str());
  std::string ops;
  for (auto& [op, count] : m.op_counts) ops += (ops.empty() ? "" : ", ") + std::to_string(count) + " " + op;
  std::printf("  ops     %s\n\n", ops.c_str());

  Table table({"<weight", "<op", "shape", "parameters", "FLOPs", "<encoding", "<pattern", "<stored as", "bytes", "dense", "sparsity",
               "<smaller than dense from"});
  for (auto& w : m.weights) {
    if (!w.rows) continue;
    std::string break_even;
    for (auto& [format, s] : w.break_even) break_even += (break_even.empty() ? "" : ", ") + format + " " + percent(s, 1);
    table.add({w.name, w.op, shape_text(w.shape), count_text(double(w.parameters)), w.operations > 0 ? count_text(w.operations) : "", w.encoding,
               !w.recognised_pattern.empty() ? w.recognised_pattern : w.pattern, w.format, bytes_text(w.stored_bytes), bytes_text(w.dense_bytes),
               w.sparsity ? percent(*w.sparsity) : "", w.prunable ? break_even : w.not_prunable_because});
  }
  table.print();

  if (weights) {
    std::printf("\nbytes in every storage format:\n");
    std::vector<std::string> formats, header = {"<weight"};
    for (auto& w : m.weights)
      for (auto& [format, size] : w.format_bytes)
        if (std::find(formats.begin(), formats.end(), format) == formats.end()) formats.push_back(format);
    header.insert(header.end(), formats.begin(), formats.end());
    header.push_back("max |w|");
    Table sizes(header);
    for (auto& w : m.weights) {
      if (w.format_bytes.empty()) continue;
      std::vector<std::string> row = {w.name};
      for (auto& f : formats) row.push_back(w.format_bytes.contains(f) ? std::to_string(w.format_bytes.at(f)) : "-");
      row.push_back(w.max_magnitude ? fixed(*w.max_magnitude, 4) : "");
      sizes.add(row);
    }
    sizes.print();
  }

  std::string sizes;
  for (auto& [name, size] : m.dimensions) sizes += (sizes.empty() ? " at " : ", ") + name + "=" + std::to_string(size);
  std::printf("\n%s parameters (%s prunable), %s; weights %s as stored, %s dense; files %s\n", count_text(double(m.parameters)).c_str(),
              count_text(double(m.prunable_parameters)).c_str(),
              m.operations > 0 ? (count_text(m.operations) + " FLOPs per item" + sizes).c_str() : "FLOPs unknown (--dim NAME=N says the sizes)",
              bytes_text(m.stored_bytes).c_str(), bytes_text(m.dense_bytes).c_str(), bytes_text(m.file_bytes).c_str());
  if (m.prunable_sparsity)
    std::printf("sparsity: %s of the prunable weights, %s of the whole model\n", percent(*m.prunable_sparsity).c_str(), percent(*m.sparsity).c_str());
  for (auto& w : m.weights)
    if (w.not_finite.value_or(0) > 0)
      std::printf("needs attention: %s holds %lld values that are infinite or NaN\n", w.name.c_str(), static_cast<long long>(*w.not_finite));
}

}  // namespace

void add_inspect(CLI::App& app) {
  Verb verb(app, "inspect", "What a model is: layers, shapes, parameters, FLOPs, pattern, storage, break-even",
            "lacuna inspect resnet20.onnx --weights");
  struct Options {
    std::string model;
    InspectOptions inspect;
    std::vector<std::string> dimensions;
  };
  auto o = std::make_shared<Options>();
  verb.command->add_option("model", o->model, "An .onnx or .gguf file, a Hugging Face directory or a Lacuna directory")->required();
  verb.command->add_flag("--weights", o->inspect.weights, "Read the values too: zeros, the pattern they obey, bytes in every format");
  verb.command->add_option("--dim", o->dimensions, "Value of a symbolic dimension, for the operation count: NAME=N");
  verb.command->callback([o, json = verb.json] {
    o->inspect.dimensions = parse_dimensions(o->dimensions);
    auto bar = progress_bar();
    ModelSummary summary = inspect(o->model, o->inspect, bar.get());
    bar.reset();
    if (*json)
      std::printf("%s\n", to_json(summary).c_str());
    else
      print(summary, o->inspect.weights);
  });
}

}  // namespace lacuna::cli
