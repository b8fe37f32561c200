#include "io/source.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"
#include "models/config.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

class SafetensorsSource : public WeightSource {
 public:
  SafetensorsSource(std::shared_ptr<const SafetensorsFile> file, SafetensorsEntry entry) : file_(std::move(file)), entry_(std::move(entry)) {}
  WeightData load() const override { return {.values = file_->tensor(entry_)}; }
  int64_t stored_bytes() const override { return int64_t(entry_.end - entry_.begin); }
  void drop() const override { file_->drop(entry_); }

 private:
  std::shared_ptr<const SafetensorsFile> file_;
  SafetensorsEntry entry_;
};

std::vector<Weight> read_shards(const fs::path& directory, const fs::path& index_path) {
  Config index = Config::parse(read_text_file(index_path, size_t(256) << 20), index_path.string());
  auto map = index.object("weight_map");
  if (!map) throw InvalidData(cat(index_path, ": has no weight_map"));
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> files;
  std::vector<Weight> weights;
  std::vector<std::string> absent;
  for (auto& name : map->keys()) {
    std::string file_name = map->text(name);
    if (!is_plain_name(file_name))
      throw InvalidData(cat(index_path, ": puts '", name, "' into the file '", file_name, "', a name without folders wanted"));
    auto& file = files[file_name];
    if (!file) file = std::make_shared<const SafetensorsFile>(directory / file_name);
    if (const SafetensorsEntry* entry = file->find(name))
      weights.push_back(safetensors_weight(file, *entry));
    else
      absent.push_back(cat("'", name, "' (", file_name, ")"));
  }
  if (!absent.empty()) throw InvalidData(cat(index_path, ": names tensors that their files do not hold: ", join(absent, ", ", 50)));
  return weights;
}

[[noreturn]] void no_safetensors(const fs::path& directory) {
  std::vector<std::string> found;
  bool torch = false;
  for (auto& entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    torch |= name.starts_with("pytorch_model") && (name.ends_with(".bin") || name.ends_with(".bin.index.json"));
    found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  if (torch) {
    std::string model = "AutoModel";
    if (fs::exists(directory / "config.json")) {
      auto names =
          Config::parse(read_text_file(directory / "config.json", size_t(64) << 20), (directory / "config.json").string()).texts("architectures");
      if (!names.empty()) model = names.front();
    }
    throw Unsupported(
        cat(directory,
            ": holds its weights as pytorch_model.bin, which can run code when it is read. Convert it with\n  python -c \"from transformers import ",
            model, " as M; M.from_pretrained('", directory, "').save_pretrained('", directory, "', safe_serialization=True)\""));
  }
  throw NotFound(cat(directory, ": has neither model.safetensors nor model.safetensors.index.json; it holds ",
                     found.empty() ? "nothing" : join(found, ", ", 20)));
}

}  // namespace

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find('/') == name.npos && name.find('\0') == name.npos && name != "." && name != "..";
}

Weight safetensors_weight(std::shared_ptr<const SafetensorsFile> file, const SafetensorsEntry& entry) {
  return {.name = entry.name,
          .shape = entry.shape,
          .encoding = {.values = entry.dtype},
          .source = std::make_shared<SafetensorsSource>(std::move(file), entry)};
}

std::vector<Weight> read_safetensors_directory(const fs::path& directory) {
  if (fs::path index = directory / "model.safetensors.index.json"; fs::exists(index)) return read_shards(directory, index);
  if (!fs::exists(directory / "model.safetensors")) no_safetensors(directory);
  auto file = std::make_shared<const SafetensorsFile>(directory / "model.safetensors");
  std::vector<Weight> weights;
  for (auto& entry : file->header().entries) weights.push_back(safetensors_weight(file, entry));
  return weights;
}

std::vector<fs::path> safetensors_files(const fs::path& directory) {
  fs::path index = directory / "model.safetensors.index.json", single = directory / "model.safetensors";
  if (!fs::exists(index)) return fs::exists(single) ? std::vector<fs::path>{single} : std::vector<fs::path>{};
  std::set<std::string> names;
  if (auto map = Config::parse(read_text_file(index, size_t(256) << 20), index.string()).object("weight_map"))
    for (auto& tensor : map->keys()) names.insert(map->text(tensor));
  std::vector<fs::path> files = {index};
  for (auto& name : names)
    if (is_plain_name(name)) files.push_back(directory / name);
  return files;
}

Tensor dense_values(const Weight& weight, const WeightData& data) {
  if (weight.encoding.granularity != Encoding::Granularity::kNone) return decode_f32(weight, data);
  if (!data.mask) return data.values;
  LACUNA_ASSERT(bits_of(data.values.dtype()) >= 8);
  Tensor out = data.values.clone();
  size_t width = size_t(bits_of(out.dtype()) / 8);
  MatrixView view(weight.layout, weight.shape);
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t c = 0; c < view.cols; c++)
      if (!data.mask->kept(r, c)) std::memset(out.mutable_raw() + size_t(view.offset(r, c)) * width, 0, width);
  return out;
}

}  // namespace lacuna
