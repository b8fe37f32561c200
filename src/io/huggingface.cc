// Hugging Face directories: config.json, safetensors, and for sentence-transformers modules.json with one folder per module.
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "io/compressed_tensors.h"
#include "io/gguf.h"
#include "io/model.h"
#include "io/output_directory.h"
#include "io/output_file.h"
#include "io/source.h"
#include "lacuna/error.h"
#include "models/builder.h"
#include "models/family.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxJson = size_t(64) << 20;
constexpr int64_t kShardBytes = int64_t(4) << 30;

Config read_json(const fs::path& path) { return Config::parse(read_text_file(path, kMaxJson), path.string()); }

// A folder that modules.json names, inside the directory.
fs::path module_folder(const fs::path& directory, const Config& module) {
  fs::path path = module.text("path");
  bool inside = path.is_relative() && std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  if (!inside) throw InvalidData(cat(module.source(), ": the module path '", path, "' leads out of the directory"));
  return path.empty() ? directory : directory / path;
}

std::string read_pooling(const fs::path& folder) {
  Config config = read_json(folder / "config.json");
  std::vector<std::string> modes;
  const std::map<std::string, std::string> known = {{"pooling_mode_mean_tokens", "mean"},
                                                    {"pooling_mode_cls_token", "cls"},
                                                    {"pooling_mode_max_tokens", "max"},
                                                    {"pooling_mode_lasttoken", "last"}};
  for (auto& key : config.keys()) {
    if (!key.starts_with("pooling_mode_") || !config.flag(key)) continue;
    auto it = known.find(key);
    if (it == known.end()) throw Unsupported(cat(config.source(), ": ", key, "; known are mean, cls, max and last token"));
    modes.push_back(it->second);
  }
  if (config.has("pooling_mode")) modes = {config.text("pooling_mode")};
  if (modes.size() != 1) throw Unsupported(cat(config.source(), ": states ", modes.size(), " kinds of pooling, one is read"));
  return modes.front();
}

// The activation of a Dense module in the words of configurations.
std::string dense_activation(const Config& config) {
  std::string name = config.text("activation_function", "torch.nn.modules.activation.Tanh");
  constexpr std::pair<std::string_view, std::string_view> kKnown[] = {{"Identity", ""}, {"Tanh", "tanh"},       {"ReLU", "relu"}, {"GELU", "gelu"},
                                                                      {"SiLU", "silu"}, {"Sigmoid", "sigmoid"}, {"Mish", "mish"}};
  std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  std::vector<std::string> known;
  for (auto [torch_name, ours] : kKnown) {
    if (torch_name == last) return std::string(ours);
    known.emplace_back(torch_name);
  }
  throw Unsupported(cat(config.source(), ": activation_function is '", name, "', known are ", join(known)));
}

SentenceHead::Dense read_dense(const fs::path& directory, const fs::path& folder, std::vector<Weight>& tensors) {
  Config config = read_json(folder / "config.json");
  SentenceHead::Dense dense{.name = folder.lexically_relative(directory).generic_string(),
                            .in = config.integer("in_features"),
                            .out = config.integer("out_features"),
                            .bias = config.flag("bias", true),
                            .activation = dense_activation(config)};
  for (Weight& tensor : read_safetensors_directory(folder)) {
    tensor.name = cat(dense.name, ".", tensor.name);
    tensors.push_back(std::move(tensor));
  }
  return dense;
}

struct SentenceTransformer {
  fs::path encoder;  // folder of config.json
  std::optional<SentenceHead> head;
  std::vector<Weight> tensors;  // of Dense modules, FOLDER.linear.weight
};

// modules.json: Transformer, Pooling, then any Dense, then Normalize or not.
SentenceTransformer read_modules(const fs::path& directory) {
  SentenceTransformer out{.encoder = directory};
  fs::path path = directory / "modules.json";
  if (!fs::exists(path)) return out;
  std::vector<std::string> unknown;
  for (auto& module : Config::parse_array(read_text_file(path, kMaxJson), path.string())) {
    std::string type = module.text("type");
    type = type.substr(type.rfind('.') + 1);
    if (type == "Transformer")
      out.encoder = module_folder(directory, module);
    else if (type == "Pooling")
      out.head = SentenceHead{.pooling = read_pooling(module_folder(directory, module))};
    else if (type == "Dense" && out.head && !out.head->normalize)
      out.head->dense.push_back(read_dense(directory, module_folder(directory, module), out.tensors));
    else if (type == "Normalize" && out.head)
      out.head->normalize = true;
    else
      unknown.push_back(type);
  }
  if (!unknown.empty())
    throw Unsupported(
        cat(path, ": has modules that Lacuna does not run: ", join(unknown), "; known are Transformer, Pooling, Dense, Normalize, in this order"));
  return out;
}

// Chat models list more end tokens in generation_config.json than in config.json.
void add_generation_config(Graph& graph, const fs::path& directory) {
  fs::path path = directory / "generation_config.json";
  if (!fs::exists(path)) return;
  auto ids = read_json(path).integers("eos_token_id");
  if (!ids.empty()) graph.metadata["eos_token_ids"] = cat(ids);
}

}  // namespace

std::shared_ptr<Graph> read_huggingface(const fs::path& directory) {
  SentenceTransformer parts = read_modules(directory);
  fs::path config_path = parts.encoder / "config.json";
  std::string text = read_text_file(config_path, kMaxJson);
  Checkpoint checkpoint{.config = Config::parse(text, config_path.string())};
  auto types = known_model_types();
  if (std::find(types.begin(), types.end(), checkpoint.config.text("model_type", "")) != types.end())
    checkpoint.tensors = read_safetensors_directory(parts.encoder);
  checkpoint = decompress(std::move(checkpoint));
  std::move(parts.tensors.begin(), parts.tensors.end(), std::back_inserter(checkpoint.tensors));
  auto graph = build_model(std::move(checkpoint), parts.head);
  graph->metadata["config.json"] = text;
  add_generation_config(*graph, parts.encoder);
  return graph;
}

std::vector<fs::path> model_assets(const fs::path& directory) {
  auto is_asset = [](const fs::path& path) {
    std::string name = path.filename().string(), extension = path.extension().string();
    for (const char* ours : {"lacuna.json", "report.json"})
      if (name == ours) return false;
    if (name == kGgufHeaderFile) return true;
    if (name.ends_with(".index.json") || name.starts_with(".")) return false;
    for (const char* known : {".json", ".jinja", ".model", ".tiktoken", ".md"})
      if (extension == known) return true;
    return name == "vocab.txt" || name == "merges.txt" || name == "added_tokens.txt" || name.starts_with("LICENSE") || name.starts_with("NOTICE");
  };
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->is_directory() && (it.depth() >= 1 || it->path().filename().string().starts_with("."))) it.disable_recursion_pending();
    // Folders hold assets only where they are modules of sentence-transformers, "1_Pooling".
    bool in_module = it.depth() == 0 || std::isdigit(static_cast<unsigned char>(it->path().parent_path().filename().string()[0]));
    if (in_module && it->is_regular_file() && it->file_size() <= (size_t(256) << 20) && is_asset(it->path()))
      out.push_back(it->path().lexically_relative(directory));
  }
  std::sort(out.begin(), out.end());
  return out;
}

namespace {

// The type that coded weights are written in.
DType stated_type(const Graph& graph) {
  auto it = graph.metadata.find("config.json");
  if (it == graph.metadata.end()) return DType::kF32;
  Config config = Config::parse(it->second, "config.json");
  std::string name = config.text("dtype", config.text("torch_dtype", "float32"));
  return name == "float16" ? DType::kF16 : name == "bfloat16" ? DType::kBF16 : DType::kF32;
}

// config.json without what described the compression of the source.
std::string plain_config(const std::string& text) {
  auto json = nlohmann::ordered_json::parse(text);
  size_t removed = 0;
  for (const char* key : {"quantization_config", "sparsity_config", "compression_config"}) removed += json.erase(key);
  return removed ? json.dump(2) + "\n" : text;
}

struct Shard {
  std::string file;
  std::vector<WeightId> weights;
};

// The folder of a sentence-transformers module that a tensor belongs to, with its name there: "2_Dense.linear.weight" is linear.weight
// of 2_Dense. The encoder's own tensors are in the folder that modules.json states.
std::pair<fs::path, std::string> place_of(const std::string& tensor, const fs::path& source_directory, const fs::path& encoder) {
  size_t dot = tensor.find('.');
  if (dot != tensor.npos && std::isdigit(static_cast<unsigned char>(tensor[0])) &&
      fs::exists(source_directory / tensor.substr(0, dot) / "config.json"))
    return {tensor.substr(0, dot), tensor.substr(dot + 1)};
  return {encoder, tensor};
}

fs::path encoder_folder(const fs::path& directory) {
  if (!fs::exists(directory / "modules.json")) return {};
  for (auto& module : Config::parse_array(read_text_file(directory / "modules.json", kMaxJson), (directory / "modules.json").string()))
    if (module.text("type").ends_with("Transformer")) return module_folder(directory, module).lexically_relative(directory).lexically_normal();
  return {};
}

class DirectoryWriter {
 public:
  DirectoryWriter(const Graph& graph, const fs::path& source_directory, const fs::path& out, Progress* progress, bool force)
      : graph_(graph), source_(source_directory), coded_(stated_type(graph)), progress_(progress), directory_(out, force, "") {}

  void write() {
    fs::path encoder = encoder_folder(source_);
    std::map<fs::path, std::vector<WeightId>> folders;
    for (WeightId id = 0; id < graph_.weights.size(); id++) {
      const std::string& name = graph_.weights[id].name;
      if (!name.starts_with(kConstantPrefix)) folders[place_of(name, source_, encoder).first].push_back(id), total_++;
    }
    for (auto& asset : model_assets(source_)) {
      fs::create_directories((directory_.partial() / asset).parent_path());
      copy_file_synced(source_ / asset, directory_.partial() / asset);
    }
    for (auto& [folder, weights] : folders) write_folder(folder, weights);
    write_file(directory_.partial() / encoder / "config.json", plain_config(graph_.metadata.at("config.json")));
    directory_.commit();
  }

 private:
  DType type_of(const Weight& w) const { return w.encoding.granularity == Encoding::Granularity::kNone ? w.encoding.values : coded_; }
  std::string name_of_tensor(WeightId id) const { return place_of(graph_.weights[id].name, source_, {}).second; }

  void write_folder(const fs::path& folder, const std::vector<WeightId>& weights) {
    std::vector<Shard> shards(1);
    int64_t bytes = 0, total = 0;
    for (WeightId id : weights) {
      const Weight& w = graph_.weights[id];
      int64_t size = w.size() * bits_of(type_of(w)) / 8;
      if (bytes > 0 && bytes + size > kShardBytes) shards.emplace_back(), bytes = 0;
      shards.back().weights.push_back(id);
      bytes += size, total += size;
    }
    fs::create_directories(directory_.partial() / folder);
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (size_t s = 0; s < shards.size(); s++) {
      char name[64];
      std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", s + 1, shards.size());
      shards[s].file = shards.size() == 1 ? "model.safetensors" : name;
      write_shard(folder, shards[s]);
      for (WeightId id : shards[s].weights) map[name_of_tensor(id)] = shards[s].file;
    }
    if (shards.size() == 1) return;
    nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    write_file(directory_.partial() / folder / "model.safetensors.index.json", index.dump(2) + "\n");
  }

  void write_shard(const fs::path& folder, const Shard& shard) {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (WeightId id : shard.weights) declarations.push_back({name_of_tensor(id), type_of(graph_.weights[id]), graph_.weights[id].shape});
    SafetensorsWriter writer(directory_.partial() / folder / shard.file, declarations, {{"format", "pt"}});
    for (WeightId id : shard.weights) {
      const Weight& w = graph_.weights[id];
      writer.write(name_of_tensor(id), dense_values(w, w.load()).to(type_of(w)).bytes().span());
      w.source->drop();
      if (progress_) progress_->update("writing", ++done_, total_);
    }
    writer.commit();
  }

  const Graph& graph_;
  const fs::path& source_;
  DType coded_;
  Progress* progress_;
  OutputDirectory directory_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

void write_huggingface(const Graph& graph, const fs::path& source_directory, const fs::path& out, Progress* progress, bool force) {
  if (!graph.metadata.contains("config.json"))
    throw Unsupported(cat(out, ": this ", graph.family, " model did not come from a Hugging Face directory and has no config.json"));
  DirectoryWriter(graph, source_directory, out, progress, force).write();
}

}  // namespace lacuna
