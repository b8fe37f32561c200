// A Lacuna directory is written shard by shard. Which weight goes into which shard is settled before the first is added, from the
// Graph alone, so that an interrupted and a whole run write the same bytes:
//   weights are taken block by block ("layers.3") in node order; small neighbouring blocks share a shard, large ones are cut.
#include <algorithm>
#include <cctype>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/hash.h"
#include "io/gguf.h"
#include "io/lacuna_directory.h"
#include "io/lacuna_record.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "lacuna/error.h"
#include "sparse/pattern.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kSmallShard = int64_t(8) << 20;   // blocks share a shard up to this many dense bytes
constexpr int64_t kLargeShard = int64_t(1) << 30;   // a block is cut into shards of at most this many, unless one weight is larger
constexpr const char* kJobFile = ".lacuna-shards";  // finished shards of an unfinished job

// "layers.3.mlp" -> "layers.3": up to the first number.
std::string unit_of(const std::string& block) {
  size_t at = 0;
  while (at < block.size()) {
    size_t end = std::min(block.find('.', at), block.size());
    if (end > at && std::all_of(block.begin() + long(at), block.begin() + long(end), [](unsigned char c) { return std::isdigit(c); }))
      return block.substr(0, end);
    at = end + 1;
  }
  return block;
}

int64_t dense_bytes(const Weight& w) { return w.size() * bits_of(w.encoding.values) / 8; }

// Weights by unit of their first use, units in order of first use; unused weights last.
std::vector<std::vector<WeightId>> weights_by_unit(const Graph& graph) {
  std::vector<std::vector<WeightId>> units;
  std::map<std::string, size_t> index;
  std::vector<bool> placed(size_t(graph.weights.size()));
  auto place = [&](WeightId id, const std::string& unit) {
    if (placed[size_t(id)]) return;
    placed[size_t(id)] = true;
    auto [it, fresh] = index.try_emplace(unit, units.size());
    if (fresh) units.emplace_back();
    units[it->second].push_back(id);
  };
  for (const Node& node : graph.nodes())
    for (ValueId v : node.inputs)
      if (graph.weight_of(v)) place(graph.value(v).weight, unit_of(node.block));
  for (WeightId id = 0; id < graph.weights.size(); id++) place(id, "unused weights");
  return units;
}

std::vector<std::vector<WeightId>> plan_shards(const Graph& graph) {
  std::vector<std::vector<WeightId>> shards;
  int64_t filled = 0;
  for (auto& unit : weights_by_unit(graph)) {
    int64_t bytes = 0;
    for (WeightId id : unit) bytes += dense_bytes(graph.weights[id]);
    if (shards.empty() || filled + bytes > kSmallShard) shards.emplace_back(), filled = 0;
    for (WeightId id : unit) {
      int64_t size = dense_bytes(graph.weights[id]);
      if (filled > 0 && filled + size > kLargeShard) shards.emplace_back(), filled = 0;
      shards.back().push_back(id);
      filled += size;
    }
  }
  return shards;
}

std::string shard_name(size_t index) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu.safetensors", index + 1);
  return name;
}

struct EncodedWeight {
  WeightRecord record;
  std::map<std::string, Tensor> parts;
};

EncodedWeight encode_weight(const Weight& weight, const WeightData& data, std::string_view pattern, const std::string& file) {
  LACUNA_ASSERT(data.values.shape() == weight.shape && data.values.dtype() == weight.encoding.values);
  EncodedWeight out{.record = {.name = weight.name,
                               .shape = weight.shape,
                               .layout = weight.layout,
                               .encoding = weight.encoding,
                               .pattern = std::string(pattern),
                               .file = file}};
  WeightRecord& record = out.record;
  record.masked = data.mask && data.mask->count_kept() < weight.size();
  if (record.masked) {
    LACUNA_ASSERT(weight.layout != MatrixLayout::kNone);
    MaskedMatrix matrix = masked_matrix(weight, data);
    FormatChoice choice = smallest_format(matrix, pattern, MatrixView(weight.layout, weight.shape).inner);
    EncodedMatrix encoded = choice.format->encode(matrix, choice.parameters);
    record.format = encoded.format;
    record.parameters = encoded.parameters;
    record.kept = data.mask->count_kept();
    out.parts = std::move(encoded.parts);
  } else {
    out.parts["values"] = data.values;
  }
  if (weight.encoding.granularity != Encoding::Granularity::kNone) out.parts["scales"] = data.scales;
  if (weight.encoding.has_zero_points) out.parts["zero_points"] = data.zero_points;
  if (weight.encoding.has_minima) out.parts["minima"] = data.minima;
  for (auto& [name, part] : out.parts) record.parts[name] = {part.dtype(), part.shape()};
  return out;
}

}  // namespace

struct LacunaWriter::Impl {
  const Graph& graph;
  ModelKind source_kind;
  std::vector<std::vector<WeightId>> plan;
  std::vector<size_t> shard_of;  // by weight
  OutputDirectory directory;
  bool resumable;
  std::map<std::string, ShardRecord> finished;
  std::map<std::string, Stored, std::less<>> stored;            // weights of finished shards
  std::map<size_t, std::map<WeightId, EncodedWeight>> pending;  // by shard
  std::map<std::string, FileRecord> files;

  Impl(const fs::path& out, const Graph& g, ModelKind kind, bool force, std::string_view job_key)
      : graph(g),
        source_kind(kind),
        plan(plan_shards(g)),
        shard_of(size_t(g.weights.size())),
        directory(out, force, job_key.empty() ? "" : cat(job_key, " ", plan_hash())),
        resumable(!job_key.empty()) {
    for (size_t s = 0; s < plan.size(); s++)
      for (WeightId id : plan[s]) shard_of[size_t(id)] = s;
    if (directory.resumed()) resume();
  }

  // Another Graph is another job.
  std::string plan_hash() const {
    Hasher hasher;
    hasher.update(graph_to_json(graph));
    for (auto& shard : plan)
      for (WeightId id : shard) hasher.update(cat(graph.weights[id].name, to_string(graph.weights[id].shape), "\n"));
    return hasher.hex();
  }

  // Takes over the shards whose bytes are what the job noted; everything else is removed.
  void resume() {
    fs::path job = directory.partial() / kJobFile;
    if (fs::exists(job)) {
      try {
        finished = shards_from_text(read_text_file(job), job.string());
      } catch (const InvalidData&) {
        finished.clear();
      }
    }
    std::erase_if(finished, [&](auto& item) {
      return !fs::exists(directory.partial() / item.first) || hash_file(directory.partial() / item.first) != item.second.file.hash;
    });
    for (auto& [name, shard] : finished) remember(shard);
    for (auto& entry : fs::directory_iterator(directory.partial())) {
      std::string name = entry.path().filename().string();
      if (!finished.contains(name) && !name.starts_with(".lacuna-")) fs::remove_all(entry.path());
    }
  }

  static Stored stored_of(const WeightRecord& w) { return {w.format, weight_bytes(w), w.masked ? element_count(w.shape) - w.kept : 0, w.pattern}; }

  void remember(const ShardRecord& shard) {
    for (auto& w : shard.weights) stored[w.name] = stored_of(w);
  }

  void write_shard(size_t index) {
    std::string name = shard_name(index);
    auto& weights = pending[index];
    std::vector<SafetensorsWriter::Declaration> declarations;
    ShardRecord shard;
    for (WeightId id : plan[index]) {
      const EncodedWeight& w = weights.at(id);
      for (auto& [part, record] : w.record.parts)
        declarations.push_back({cat(w.record.name, ".", part), part_file_dtype(record.dtype), part_file_shape(record)});
      shard.weights.push_back(w.record);
    }
    SafetensorsWriter writer(directory.partial() / name, declarations);
    for (WeightId id : plan[index]) {
      const EncodedWeight& w = weights.at(id);
      for (auto& [part, tensor] : w.parts) writer.write(cat(w.record.name, ".", part), tensor.bytes().span());
      graph.weights[id].source->drop();
    }
    writer.commit();
    pending.erase(index);
    shard.file = record_of(name);
    remember(shard);
    finished[name] = std::move(shard);
    if (resumable) write_file(directory.partial() / kJobFile, to_text(finished));
  }

  FileRecord record_of(const fs::path& name) const {
    fs::path path = directory.partial() / name;
    return {int64_t(fs::file_size(path)), hash_file(path)};
  }

  bool is_added(WeightId id) const {
    if (stored.contains(graph.weights[id].name)) return true;
    auto it = pending.find(shard_of[size_t(id)]);
    return it != pending.end() && it->second.contains(id);
  }

  std::string index_text() const {
    int64_t total = 0;
    std::string map;
    for (auto& [file, shard] : finished)
      for (auto& w : shard.weights)
        for (auto& [part, record] : w.parts) {
          total += part_bytes(record);
          map += cat(map.empty() ? "" : ",\n", json_text(cat(w.name, ".", part)), ": ", json_text(file));
        }
    return cat("{\"metadata\": {\"total_size\": ", total, "},\n\"weight_map\": {\n", map, "\n}}\n");
  }
};

LacunaWriter::LacunaWriter(const fs::path& out, const Graph& graph, ModelKind source_kind, bool force, std::string_view job_key)
    : impl_(std::make_unique<Impl>(out, graph, source_kind, force, job_key)) {}
LacunaWriter::~LacunaWriter() = default;

bool LacunaWriter::has_weight(WeightId id) const { return impl_->stored.contains(impl_->graph.weights[id].name); }

std::vector<WeightId> LacunaWriter::order() const {
  std::vector<WeightId> out;
  for (auto& shard : impl_->plan) out.insert(out.end(), shard.begin(), shard.end());
  return out;
}

LacunaWriter::Stored LacunaWriter::add_weight(WeightId id, const WeightData& data, std::string_view pattern) {
  LACUNA_ASSERT(!impl_->is_added(id));
  size_t shard = impl_->shard_of[size_t(id)];
  EncodedWeight encoded = encode_weight(impl_->graph.weights[id], data, pattern, shard_name(shard));
  Stored stored = Impl::stored_of(encoded.record);
  auto& pending = impl_->pending[shard];
  pending.emplace(id, std::move(encoded));
  if (pending.size() == impl_->plan[shard].size()) impl_->write_shard(shard);
  return stored;
}

LacunaWriter::Stored LacunaWriter::stored(WeightId id) const {
  auto it = impl_->stored.find(impl_->graph.weights[id].name);
  LACUNA_ASSERT(it != impl_->stored.end());
  return it->second;
}

void LacunaWriter::add_rest(Progress* progress) {
  auto ids = order();
  int64_t done = 0;
  for (WeightId id : ids) {
    const Weight& weight = impl_->graph.weights[id];
    if (!impl_->is_added(id)) add_weight(id, weight.load(), weight.pattern);
    if (progress) progress->update("writing", ++done, int64_t(ids.size()));
  }
}

void LacunaWriter::copy_file(const fs::path& from, const fs::path& name) {
  fs::path to = impl_->directory.partial() / name;
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  if (error) throw IoError(cat(to.parent_path(), ": cannot create: ", error.message()));
  copy_file_synced(from, to);
  impl_->files[name.generic_string()] = impl_->record_of(name);
}

void LacunaWriter::add_file(const fs::path& name, std::string_view text) {
  write_file(impl_->directory.partial() / name, text);
  impl_->files[name.generic_string()] = impl_->record_of(name);
}

void LacunaWriter::add_assets(const Model& model) {
  for (auto& asset : model_assets(model.path)) copy_file(model.path / asset, asset);
  if (model.kind == ModelKind::kGguf) add_file(fs::path(kGgufHeaderFile), gguf_header_only(*GgufFile::open(model.path)));
}

void LacunaWriter::finish() {
  Impl& i = *impl_;
  LacunaJson json{.source_kind = std::string(name_of(i.source_kind)), .graph = graph_to_json(i.graph)};
  for (size_t s = 0; s < i.plan.size(); s++) {
    auto it = i.finished.find(shard_name(s));
    LACUNA_ASSERT(it != i.finished.end());
    json.weights.insert(json.weights.end(), it->second.weights.begin(), it->second.weights.end());
    i.files[it->first] = it->second.file;
  }
  add_file(fs::path(kLacunaIndex), i.index_text());
  json.files = i.files;
  write_file(i.directory.partial() / "lacuna.json", to_text(json));
  i.directory.commit();
}

void LacunaWriter::discard() { impl_->directory.discard(); }

void save_lacuna(const Model& model, const fs::path& out, bool force, Progress* progress) {
  LacunaWriter writer(out, *model.graph, model.source_kind, force);
  for (WeightId id : writer.order()) {  // what other tools pruned is stored sparse
    const Weight& weight = model.graph->weights[id];
    if (weight.layout == MatrixLayout::kNone) continue;
    WeightData data = weight.load();
    MatrixView view(weight.layout, weight.shape);
    if (data.mask || weight.encoding.granularity != Encoding::Granularity::kNone) continue;
    std::vector<float> values(size_t(view.rows * view.cols));
    decode_rows(weight, data, 0, view.rows, values.data());
    data.mask = mask_of_pruned(weight, values);
    if (data.mask) writer.add_weight(id, data, recognise_pattern(*data.mask, view.inner));
    weight.source->drop();
  }
  writer.add_rest(progress);
  writer.add_assets(model);
  if (model.kind == ModelKind::kLacuna) {
    for (const char* name : {"recipe.yaml", "report.json"})
      if (auto text = read_lacuna_text(model.path, name)) writer.add_file(name, *text);
  }
  writer.finish();
}

}  // namespace lacuna
