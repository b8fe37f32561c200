#include "lacuna/convert.h"

#include "cli/cli.h"

namespace lacuna::cli {
namespace {

void print(const ConvertReport& r) {
  std::printf("%s -> %s: %lld weights, %lld zeros, %s in %s\n", r.from.c_str(), r.to.c_str(), static_cast<long long>(r.weights),
              static_cast<long long>(r.zeros), bytes_text(r.bytes).c_str(), r.output.c_str());
  if (auto& before = r.onnx_before, &after = r.onnx_after; before && after)
    std::printf("%lld nodes of opset %d became %lld of opset %d%s\n", static_cast<long long>(before->nodes), before->opset,
                static_cast<long long>(after->nodes), after->opset,
                before->nodes == after->nodes ? "" : ": constants are folded, and nodes that make up one operation are written as that operation");
  for (auto& line : r.needs_attention) std::printf("needs attention: %s\n", line.c_str());
}

}  // namespace

void add_convert(CLI::App& app) {
  Verb verb(app, "convert", "Write a model as the kind it came from, dense with zeros, so that other tools read it",
            "lacuna convert small/ -o out.onnx");
  struct Options {
    std::string model, output;
    ConvertOptions convert;
  };
  auto o = std::make_shared<Options>();
  verb.command->add_option("model", o->model, "Usually a Lacuna directory")->required();
  verb.command->add_option("-o,--output", o->output, "File (.onnx, .gguf) or directory to write; missing parents are made")->required();
  verb.command->add_option("--to", o->convert.to, "onnx, huggingface, gguf or lacuna (default: by the output's name, else what it came from)");
  verb.command->add_option(
      "--encoding", o->convert.encoding,
      "GGUF only: f16, q8_0 or q4_0.\nDefault: every weight keeps the encoding that it has (F32, F16, BF16, Q8_0, Q4_0, Q4_1); what cannot be "
      "written\nas it is (a pruned Q4_1, Q5 and K blocks, int8 by row) becomes f16. q8_0 is half as large as f16.");
  verb.command->add_flag("--force", o->convert.force, "Replace an existing output");
  verb.command->callback([o, json = verb.json] {
    auto bar = progress_bar();
    ConvertReport r = convert(o->model, o->output, o->convert, bar.get());
    bar.reset();
    *json ? void(std::printf("%s\n", to_json(r).c_str())) : print(r);
  });
}

}  // namespace lacuna::cli
