// Where the bytes of imported weights come from.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "sparse/weight.h"

namespace lacuna {

// A file name without folders, as an index may put next to itself.
bool is_plain_name(const std::string& name);

// A dense weight that is one entry of a mapped safetensors file; name, shape and encoding as stored.
Weight safetensors_weight(std::shared_ptr<const SafetensorsFile> file, const SafetensorsEntry& entry);

// Every tensor of a directory: model.safetensors, or the shards that model.safetensors.index.json names (found next to it).
// Throws NotFound (for PyTorch checkpoints it says how to convert), InvalidData listing every tensor whose shard does not hold it.
std::vector<Weight> read_safetensors_directory(const std::filesystem::path& directory);

// The files behind them, the index included; empty if there are none.
std::vector<std::filesystem::path> safetensors_files(const std::filesystem::path& directory);

// The values of a weight as the source stored them: its own float or integer type if it has no scales, else f32; zeros where masked.
Tensor dense_values(const Weight& weight, const WeightData& data);

}  // namespace lacuna
