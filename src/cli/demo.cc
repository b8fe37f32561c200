#include "lacuna/demo.h"

#include "cli/cli.h"

namespace lacuna::cli {
namespace {

void print(const DemoReport& r) {
  std::printf("What pruning costs: one 256 x 256 weight, 4096 inputs, relative error of the output when the smallest weights are removed\n\n");
  std::vector<std::string> header = {"<pattern"};
  for (double s : r.quality.empty() ? std::vector<double>{} : r.quality[0].sparsities) header.push_back(percent(s, 0) + " zeros");
  Table quality(header);
  for (auto& row : r.quality) {
    std::vector<std::string> cells = {row.pattern};
    for (double e : row.errors) cells.push_back(e < 0 ? "-" : fixed(e, 4));
    quality.add(cells);
  }
  quality.print();
  std::printf("\nWhat it buys: a layer of 3072 x 768 on 128 tokens, %s, %d thread%s (dense and sparse timed in turn)\n\n", r.cpu.c_str(), r.threads,
              r.threads == 1 ? "" : "s");
  Table speed({"<pattern", "zeros", "<stored as", "size", "of dense", "dense ms", "sparse ms", "speedup", "<kernel"});
  for (auto& row : r.speed)
    speed.add({row.pattern, percent(row.sparsity, 1), row.format, bytes_text(row.bytes), percent(double(row.bytes) / double(row.dense_bytes), 1),
               fixed(row.dense_ms, 3), fixed(row.ms, 3), fixed(row.speedup, 2) + "x", row.kernel});
  speed.print();
  std::printf("\nNext: lacuna prune MODEL -o small/ --sparsity 0.8; lacuna verify MODEL small/; lacuna bench small/ --vs MODEL\n");
}

}  // namespace

void add_demo(CLI::App& app) {
  Verb verb(app, "demo", "Prune a model made on the spot: quality, size and time, sparse beside dense", "lacuna demo");
  verb.command->callback([json = verb.json] {
    auto bar = progress_bar();
    DemoReport report = demo(bar.get());
    bar.reset();
    if (*json)
      std::printf("%s\n", to_json(report).c_str());
    else
      print(report);
  });
}

}  // namespace lacuna::cli
