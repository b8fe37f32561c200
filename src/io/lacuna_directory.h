// The Lacuna directory: a Graph and its weights, each in the smallest storage format, with a hash of every file.
// Layout and byte-level description: docs/formats/directory.md.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/model.h"
#include "io/output_directory.h"
#include "sparse/weight.h"

namespace lacuna {

// Writes a Lacuna directory weight by weight, so that models larger than memory pass through. Held in memory are the encoded
// weights of unfinished shards only: add the weights of one block after another (in node order).
class LacunaWriter {
 public:
  // Builds OUT.partial/. With a job_key (a hash of all that decides the result: recipe, inputs, versions), an interrupted build of
  // the same job and Graph continues after its finished shards; without, a failed build leaves nothing.
  // The Graph must outlive the writer and keep its weights' names; shapes and encodings may be edited until a weight is added.
  // Throws InvalidArgument if `out` exists (see check_replaceable), IoError.
  LacunaWriter(const std::filesystem::path& out, const Graph& graph, ModelKind source_kind, bool force = false, std::string_view job_key = {});
  ~LacunaWriter();
  LacunaWriter(const LacunaWriter&) = delete;
  LacunaWriter& operator=(const LacunaWriter&) = delete;

  // Is the weight in a shard that this or an earlier run of the job finished?
  bool has_weight(WeightId id) const;
  // Weights in the order in which shards fill up soonest.
  std::vector<WeightId> order() const;

  // What was stored of one weight.
  struct Stored {
    std::string format;  // "dense", "bitmask", ...
    int64_t bytes;       // of all its parts, scales included
    int64_t removed;     // weights that its mask removes
    std::string pattern;
  };
  // `data` in the encoding that the Graph states for the weight. A mask is kept exactly, kept zeros too. Throws IoError (the disk is
  // full: finished shards stay for a resume).
  Stored add_weight(WeightId id, const WeightData& data, std::string_view pattern);
  // Requires has_weight(id).
  Stored stored(WeightId id) const;
  // Every weight that was not added yet, as its source has it.
  void add_rest(Progress* progress = nullptr);

  // The tokenizer, configuration and other small files of a model, whatever kind it is of.
  void add_assets(const Model& model);
  // Files beside the weights: a copy, or text ("recipe.yaml", "report.json"). `name` is relative to the directory.
  void copy_file(const std::filesystem::path& from, const std::filesystem::path& name);
  void add_file(const std::filesystem::path& name, std::string_view text);

  // Writes the index and lacuna.json and renames OUT.partial/ to OUT. Requires that every weight was added.
  void finish();
  // Removes OUT.partial/, finished shards included.
  void discard();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The model with its tokenizer and configuration files as a Lacuna directory.
void save_lacuna(const Model& model, const std::filesystem::path& out, bool force, Progress* progress = nullptr);

// Reads lacuna.json and the shards' headers; weights are decoded when loaded. Throws NotFound, InvalidData, Unsupported (a newer version).
Model read_lacuna(const std::filesystem::path& directory);

// Compares every file with its hash: one line per file that is missing, changed, or not listed, naming it. Empty: all is well.
std::vector<std::string> verify_hashes(const std::filesystem::path& directory);

// lacuna.json and the files that it lists. Throws as read_lacuna.
std::vector<std::filesystem::path> lacuna_files(const std::filesystem::path& directory);

// Text files of a Lacuna directory; nullopt if it has none of that name.
std::optional<std::string> read_lacuna_text(const std::filesystem::path& directory, std::string_view name);

}  // namespace lacuna
