// lacuna.json: what is said of each weight and each file. Private to the writer and the reader of Lacuna directories.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "sparse/format.h"
#include "sparse/weight.h"

namespace lacuna {

inline constexpr int64_t kLacunaVersion = 1;
inline constexpr std::string_view kLacunaIndex = "model.safetensors.index.json";

// One part of a weight: entry "NAME.part" of its shard. 4-bit types are stored as u8 bytes.
struct PartRecord {
  DType dtype = DType::kF32;
  Shape shape;
};

struct WeightRecord {
  std::string name;
  Shape shape;
  MatrixLayout layout = MatrixLayout::kNone;
  Encoding encoding;
  std::string pattern, file;
  bool masked = false;  // false: part "values" in source order; true: the parts of `format`, in matrix order
  std::string format = "dense";
  FormatParameters parameters;
  int64_t kept = 0;  // weights that the mask keeps; of masked ones only
  std::map<std::string, PartRecord> parts;
};

struct FileRecord {
  int64_t bytes = 0;
  std::string hash;  // XXH3-128
};

// The bytes of a part as they lie in a shard.
int64_t part_bytes(const PartRecord& part);
// Of all parts, scales included.
int64_t weight_bytes(const WeightRecord& weight);
// The type under which a part stands in a shard: u8 for 4-bit codes.
inline DType part_file_dtype(DType dtype) { return bits_of(dtype) < 8 ? DType::kU8 : dtype; }
Shape part_file_shape(const PartRecord& part);

struct LacunaJson {
  std::string source_kind;
  std::string graph;  // JSON, see graph_to_json
  std::vector<WeightRecord> weights;
  std::map<std::string, FileRecord> files;
};
// The text of lacuna.json; its last member is the hash of all bytes before it.
std::string to_text(const LacunaJson& json);
// Validates as foreign bytes, the checksum first. `name` opens every message. Throws InvalidData, Unsupported.
LacunaJson lacuna_from_text(std::string_view text, const std::string& name);

// A string as JSON text, quotes included.
std::string json_text(const std::string& text);

// The notes of an unfinished job: its finished shards.
struct ShardRecord {
  FileRecord file;
  std::vector<WeightRecord> weights;
};
std::string to_text(const std::map<std::string, ShardRecord>& shards);
std::map<std::string, ShardRecord> shards_from_text(std::string_view text, const std::string& name);

}  // namespace lacuna
