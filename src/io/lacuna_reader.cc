#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/buffer.h"
#include "base/cat.h"
#include "base/hash.h"
#include "io/lacuna_directory.h"
#include "io/lacuna_record.h"
#include "io/safetensors.h"
#include "io/source.h"
#include "lacuna/error.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxJson = size_t(1) << 30;

// A weight in its parts; decoded on load.
// A file of weights whose bytes are compared with its hash when the first of them is loaded: damage must not pass for a model.
class Shard : public SafetensorsFile {
 public:
  Shard(const fs::path& path, std::string hash) : SafetensorsFile(path), path_(path), hash_(std::move(hash)) {}
  void check() const {
    std::call_once(checked_, [&] {
      if (std::string found = hash_file(path_); found != hash_)
        throw InvalidData(cat(path_, ": its bytes have changed since it was written: hash ", found, ", ", hash_, " wanted"));
    });
  }

 private:
  fs::path path_;
  std::string hash_;
  mutable std::once_flag checked_;
};

class StoredSource : public WeightSource {
 public:
  StoredSource(std::shared_ptr<const Shard> file, WeightRecord record, std::string where)
      : file_(std::move(file)), record_(std::move(record)), where_(std::move(where)) {}

  WeightData load() const override {
    file_->check();
    WeightData data;
    data.scales = part_or_empty("scales");
    data.zero_points = part_or_empty("zero_points");
    data.minima = part_or_empty("minima");
    if (!record_.masked) {
      data.values = part("values");
      return data;
    }
    const Format& format = format_named(record_.format);
    MatrixView view(record_.layout, record_.shape);
    EncodedMatrix encoded{
        .format = record_.format, .type = record_.encoding.values, .rows = view.rows, .cols = view.cols, .parameters = record_.parameters};
    for (auto& [name, p] : record_.parts)
      if (!is_scale_part(name)) encoded.parts[name] = part(name);
    if (!valid_.load()) {
      try {
        format.validate(encoded);
      } catch (const InvalidData& error) {
        throw InvalidData(cat(where_, ": ", error.what()));
      } catch (const ResourceExhausted& error) {
        throw ResourceExhausted(cat(where_, ": ", error.what()));
      }
      valid_.store(true);
    }
    MaskedMatrix matrix = format.decode(encoded);
    if (int64_t kept = matrix.mask.count_kept(); kept != record_.kept)
      throw InvalidData(cat(where_, ": keeps ", kept, " weights, lacuna.json says ", record_.kept));
    Weight shaped{.name = record_.name, .shape = record_.shape, .layout = record_.layout};
    data.values = source_order(shaped, matrix.codes);
    data.mask = std::move(matrix.mask);
    return data;
  }

  int64_t stored_bytes() const override { return weight_bytes(record_); }
  std::string stored_format() const override { return record_.format; }
  void drop() const override {
    for (auto& [name, p] : record_.parts) file_->drop(entry(name));
  }

  static bool is_scale_part(std::string_view name) { return name == "scales" || name == "zero_points" || name == "minima"; }

 private:
  const SafetensorsEntry& entry(const std::string& part) const { return *file_->find(cat(record_.name, ".", part)); }
  Tensor part(const std::string& name) const {
    const PartRecord& p = record_.parts.at(name);
    Tensor stored = file_->tensor(entry(name));
    return bits_of(p.dtype) < 8 ? Tensor(p.dtype, p.shape, stored.bytes()) : stored;
  }
  Tensor part_or_empty(const std::string& name) const { return record_.parts.contains(name) ? part(name) : Tensor(); }

  std::shared_ptr<const Shard> file_;
  WeightRecord record_;
  std::string where_;
  mutable std::atomic<bool> valid_ = false;
};

// Does the part that carries scales or the like have the shape that the encoding asks for?
void check_scales(const WeightRecord& w, const std::string& where) {
  using enum Encoding::Granularity;
  const Encoding& e = w.encoding;
  Shape wanted = {1};
  if (e.granularity == kRow || e.granularity == kGroup) {
    MatrixView view(w.layout, w.shape);
    wanted = {view.rows};
    if (e.granularity == kGroup) wanted.push_back((view.cols + e.group - 1) / e.group);
  }
  auto check = [&](const char* name, bool there, DType dtype) {
    auto it = w.parts.find(name);
    if (!there) {
      if (it != w.parts.end()) throw InvalidData(cat(where, ": has a part '", name, "', which its encoding does not"));
      return;
    }
    if (it == w.parts.end()) throw InvalidData(cat(where, ": has no part '", name, "', its encoding has"));
    if (it->second.dtype != dtype || it->second.shape != wanted) {
      throw InvalidData(cat(where, ": part '", name, "' is ", name_of(it->second.dtype), " ", to_string(it->second.shape), ", ", name_of(dtype), " ",
                            to_string(wanted), " wanted"));
    }
  };
  check("scales", e.granularity != kNone, e.scales);
  check("zero_points", e.has_zero_points, e.values);
  check("minima", e.has_minima, e.scales);
}

// What the header of the shard says agrees with the record; the bytes are looked at when the weight is loaded.
void check_parts(const WeightRecord& w, const SafetensorsFile& file, const std::string& where) {
  check_scales(w, where);
  for (auto& [name, part] : w.parts) {
    const SafetensorsEntry* entry = file.find(cat(w.name, ".", name));
    if (!entry) throw InvalidData(cat(where, ": ", w.file, " holds no '", w.name, ".", name, "'"));
    if (entry->dtype != part_file_dtype(part.dtype) || entry->shape != part_file_shape(part)) {
      throw InvalidData(cat(where, ": part '", name, "' is ", name_of(entry->dtype), " ", to_string(entry->shape), " in ", w.file, ", ",
                            name_of(part_file_dtype(part.dtype)), " ", to_string(part_file_shape(part)), " wanted"));
    }
  }
  if (w.masked) return;
  auto values = w.parts.find("values");
  bool plain = values != w.parts.end() && values->second.dtype == w.encoding.values && values->second.shape == w.shape;
  bool others = std::any_of(w.parts.begin(), w.parts.end(), [](auto& p) { return p.first != "values" && !StoredSource::is_scale_part(p.first); });
  if (!plain || others)
    throw InvalidData(cat(where, ": is not masked; one part 'values' of ", name_of(w.encoding.values), " ", to_string(w.shape), " wanted"));
}

ModelKind kind_named(const std::string& name, const fs::path& file) {
  for (ModelKind kind : {ModelKind::kOnnx, ModelKind::kHuggingFace, ModelKind::kGguf, ModelKind::kLacuna})
    if (name_of(kind) == name) return kind;
  throw InvalidData(cat(file, ": source_kind '", name, "' is unknown"));
}

// A listed file below the directory; nullopt if the name leads out of it.
std::optional<fs::path> listed_path(const fs::path& directory, const fs::path& name) {
  if (name.empty() || name.is_absolute() || std::any_of(name.begin(), name.end(), [](const fs::path& part) { return part == ".."; }))
    return std::nullopt;
  return directory / name;
}

}  // namespace

Model read_lacuna(const fs::path& directory) {
  fs::path path = directory / "lacuna.json";
  LacunaJson json = lacuna_from_text(read_text_file(path, kMaxJson), path.string());
  std::map<std::string, std::shared_ptr<const Shard>> files;
  WeightTable weights;
  for (auto& record : json.weights) {
    std::string where = cat(path, ": weight '", record.name, "'");
    if (!is_plain_name(record.file)) throw InvalidData(cat(where, ": is in the file '", record.file, "', a name without folders wanted"));
    auto& file = files[record.file];
    if (!file) {
      auto listed = json.files.find(record.file);
      if (listed == json.files.end()) throw InvalidData(cat(where, ": is in the file '", record.file, "', which is not among the files"));
      file = std::make_shared<const Shard>(directory / record.file, listed->second.hash);
    }
    check_parts(record, *file, where);
    Weight weight{.name = record.name, .shape = record.shape, .layout = record.layout, .encoding = record.encoding, .pattern = record.pattern};
    weight.source = std::make_shared<StoredSource>(file, std::move(record), std::move(where));
    weights.add(std::move(weight));
  }
  Model model{.kind = ModelKind::kLacuna, .path = directory, .source_kind = kind_named(json.source_kind, path)};
  model.graph = std::make_shared<Graph>(graph_from_json(json.graph, std::move(weights)));
  return model;
}

std::vector<fs::path> lacuna_files(const fs::path& directory) {
  fs::path path = directory / "lacuna.json";
  std::vector<fs::path> files = {path};
  for (auto& [name, record] : lacuna_from_text(read_text_file(path, kMaxJson), path.string()).files)
    if (auto listed = listed_path(directory, name)) files.push_back(*listed);
  return files;
}

std::vector<std::string> verify_hashes(const fs::path& directory) {
  std::vector<std::string> problems;
  LacunaJson json;
  try {
    json = lacuna_from_text(read_text_file(directory / "lacuna.json", kMaxJson), (directory / "lacuna.json").string());
  } catch (const Error& error) {
    return {error.what()};
  }
  for (auto& [name, record] : json.files) {
    auto path = listed_path(directory, name);
    std::error_code error;
    if (!path) {
      problems.push_back(cat(name, ": leads out of the directory"));
    } else if (!fs::is_regular_file(*path, error)) {
      problems.push_back(cat(name, ": is missing"));
    } else if (int64_t bytes = int64_t(fs::file_size(*path)); bytes != record.bytes) {
      problems.push_back(cat(name, ": has ", bytes, " bytes, ", record.bytes, " wanted"));
    } else if (std::string hash = hash_file(*path); hash != record.hash) {
      problems.push_back(cat(name, ": its bytes have changed: hash ", hash, ", ", record.hash, " wanted"));
    }
  }
  for (auto& entry : fs::recursive_directory_iterator(directory)) {
    std::string name = entry.path().lexically_relative(directory).generic_string();
    if (!entry.is_directory() && name != "lacuna.json" && !name.starts_with(".lacuna-") && !json.files.contains(name))
      problems.push_back(cat(name, ": is not listed in lacuna.json"));
  }
  return problems;
}

std::optional<std::string> read_lacuna_text(const fs::path& directory, std::string_view name) {
  fs::path path = directory / name;
  if (!fs::exists(path)) return std::nullopt;
  return read_text_file(path, size_t(256) << 20);
}

}  // namespace lacuna
