// lacuna.json:
//   {"format": "lacuna", "version": 1, "source_kind": "huggingface", "graph": {...},
//    "weights": [{"name", "shape", "layout", "encoding": {"values", "granularity"?, "group"?, "scales"?, "zero_points"?, "minima"?},
//                 "pattern"?, "file", "masked", "format"?, "parameters"?: {"n", "m", "inner", "block_rows", "block_cols"}, "kept"?,
//                 "parts": {"values": {"dtype", "shape"}, ...}}, ...],
//    "files": {"model-00001.safetensors": {"bytes", "xxh3_128"}, ...},
//    "checksum": XXH3-128 of every byte before this member's name}
#include "io/lacuna_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "base/hash.h"
#include "base/json_depth.h"
#include "lacuna/error.h"

namespace lacuna {

using Json = nlohmann::ordered_json;
// What is read: looks members up by a tree, where the ordered kind would take the square of their number.
using Parsed = nlohmann::json;

namespace {

constexpr std::string_view kGranularities[] = {"none", "tensor", "row", "group"};
constexpr std::string_view kLayouts[] = {"none", "out_in", "in_out", "conv"};
constexpr int kMaxDepth = 12;

// Reads members with types checked; messages name the file, the place and the member.
class Object {
 public:
  Object(const Parsed& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail(cat("is ", json.type_name(), ", an object wanted"));
  }
  [[noreturn]] void fail(const std::string& what) const { throw InvalidData(cat(where_, ": ", what)); }
  const std::string& where() const { return where_; }
  const Parsed* find(const char* name) const {
    auto it = json_.find(name);
    return it == json_.end() ? nullptr : &*it;
  }
  const Parsed& at(const char* name) const {
    if (const Parsed* value = find(name)) return *value;
    fail(cat("'", name, "' is missing"));
  }
  std::string text(const char* name) const {
    const Parsed& value = at(name);
    if (!value.is_string()) fail(cat("'", name, "' is ", value.type_name(), ", text wanted"));
    return value.get<std::string>();
  }
  std::string text_or(const char* name, const char* fallback) const { return find(name) ? text(name) : fallback; }
  bool flag(const char* name) const {
    const Parsed* value = find(name);
    if (value && !value->is_boolean()) fail(cat("'", name, "' is ", value->type_name(), ", true or false wanted"));
    return value && value->get<bool>();
  }
  int64_t integer(const char* name, int64_t low) const { return integer(at(name), name, low); }
  int64_t integer_or(const char* name, int64_t fallback) const { return find(name) ? integer(name, 0) : fallback; }
  Shape shape(const char* name) const {
    const Parsed& value = at(name);
    if (!value.is_array() || value.size() > 32) fail(cat("'", name, "' is no list of dimensions"));
    Shape out;
    for (auto& d : value) out.push_back(integer(d, name, 0));
    return out;
  }
  DType dtype(const char* name) const {
    std::string text = this->text(name);
    auto type = dtype_from_name(text);
    if (!type) fail(cat("'", name, "' is '", text, "', a type wanted"));
    return *type;
  }
  template <size_t N>
  size_t one_of(const char* name, const std::string_view (&known)[N], const char* fallback) const {
    std::string text = text_or(name, fallback);
    auto it = std::find(std::begin(known), std::end(known), text);
    if (it == std::end(known)) fail(cat("'", name, "' is '", text, "', which is unknown"));
    return size_t(it - std::begin(known));
  }

 private:
  int64_t integer(const Parsed& value, const char* name, int64_t low) const {
    constexpr int64_t kHigh = int64_t(1) << 48;
    if (!value.is_number_integer() || value.get<double>() < double(low) || value.get<double>() > double(kHigh))
      fail(cat("'", name, "' is ", value.dump().substr(0, 40), ", an integer from ", low, " wanted"));
    return value.get<int64_t>();
  }
  const Parsed& json_;
  std::string where_;
};

Parsed parse(std::string_view text, const std::string& name) {
  if (json_depth(text) > kMaxDepth) throw InvalidData(cat(name, ": is nested more than ", kMaxDepth, " deep"));
  try {
    return Parsed::parse(text);
  } catch (const Parsed::exception& error) {
    throw InvalidData(cat(name, ": is not JSON: ", error.what()));
  }
}

Json to_json(const Encoding& e) {
  Json out = {{"values", name_of(e.values)}};
  if (e.granularity == Encoding::Granularity::kNone) return out;
  out["granularity"] = kGranularities[size_t(e.granularity)];
  if (e.granularity == Encoding::Granularity::kGroup) out["group"] = e.group;
  out["scales"] = name_of(e.scales);
  if (e.has_zero_points) out["zero_points"] = true;
  if (e.has_minima) out["minima"] = true;
  return out;
}

Encoding encoding_from(const Object& o) {
  Encoding e{.values = o.dtype("values"), .granularity = Encoding::Granularity(o.one_of("granularity", kGranularities, "none"))};
  if (e.granularity == Encoding::Granularity::kNone) {
    if (bits_of(e.values) < 8) o.fail("4-bit codes without scales");
    return e;
  }
  if (e.granularity == Encoding::Granularity::kGroup) e.group = o.integer("group", 1);
  e.scales = o.dtype("scales");
  if (!is_float(e.scales)) o.fail("'scales' must be a float type");
  if (is_float(e.values) || bits_of(e.values) > 8)
    o.fail(cat("'values' is ", name_of(e.values), ", codes of at most 8 bits wanted where there are scales"));
  e.has_zero_points = o.flag("zero_points");
  e.has_minima = o.flag("minima");
  return e;
}

Json to_json(const FormatParameters& p) {
  return {{"n", p.n}, {"m", p.m}, {"inner", p.inner}, {"block_rows", p.block_rows}, {"block_cols", p.block_cols}};
}

Json to_json(const WeightRecord& w) {
  Json out = {{"name", w.name}, {"shape", w.shape}, {"layout", kLayouts[size_t(w.layout)]}, {"encoding", to_json(w.encoding)}};
  if (!w.pattern.empty()) out["pattern"] = w.pattern;
  out["file"] = w.file;
  out["masked"] = w.masked;
  if (w.masked) {
    out["format"] = w.format;
    out["parameters"] = to_json(w.parameters);
    out["kept"] = w.kept;
  }
  Json parts = Json::object();
  for (auto& [name, part] : w.parts) parts[name] = {{"dtype", name_of(part.dtype)}, {"shape", part.shape}};
  out["parts"] = std::move(parts);
  return out;
}

void check_shape(const Object& o, const WeightRecord& w) {
  checked_element_count(w.shape, w.encoding.values, o.where());
  if (w.layout != MatrixLayout::kNone && w.shape.size() < 2)
    o.fail(cat("shape ", to_string(w.shape), " does not fit the layout ", name_of(w.layout)));
  if (w.layout == MatrixLayout::kNone && w.masked) o.fail("is masked, but not a matrix");
  using enum Encoding::Granularity;
  if (w.layout == MatrixLayout::kNone && (w.encoding.granularity == kRow || w.encoding.granularity == kGroup))
    o.fail("has scales per row, but is not a matrix");
  if (w.masked && element_count(w.shape) == 0) o.fail("is masked, but empty");
}

WeightRecord weight_from(const Parsed& json, const std::string& place) {
  Object o(json, place);
  WeightRecord w{.name = o.text("name")};
  Object named(json, cat(place, " '", w.name.substr(0, 200), "'"));
  w.shape = named.shape("shape");
  w.layout = MatrixLayout(named.one_of("layout", kLayouts, "none"));
  w.encoding = encoding_from(Object(named.at("encoding"), named.where() + " encoding"));
  w.pattern = named.text_or("pattern", "");
  w.file = named.text("file");
  w.masked = named.flag("masked");
  if (w.masked) {
    w.format = named.text("format");
    Object p(named.at("parameters"), named.where() + " parameters");
    w.parameters = {.n = p.integer_or("n", 0),
                    .m = p.integer_or("m", 0),
                    .inner = p.integer_or("inner", 0),
                    .block_rows = p.integer_or("block_rows", 0),
                    .block_cols = p.integer_or("block_cols", 0)};
    w.kept = named.integer("kept", 0);
    bool known = std::any_of(formats().begin(), formats().end(), [&](const Format& f) { return f.name == w.format; });
    if (!known) throw Unsupported(cat(named.where(), ": storage format '", w.format, "' is unknown to this version"));
  }
  check_shape(named, w);
  const Parsed& parts = named.at("parts");
  if (!parts.is_object() || parts.size() > 16) named.fail("'parts' is no object of parts");
  for (auto& [name, part] : parts.items()) {
    Object p(part, cat(named.where(), " part '", name, "'"));
    PartRecord record{p.dtype("dtype"), p.shape("shape")};
    checked_element_count(record.shape, record.dtype, p.where());
    w.parts[name] = std::move(record);
  }
  return w;
}

Json to_json(const FileRecord& f) { return {{"bytes", f.bytes}, {"xxh3_128", f.hash}}; }

FileRecord file_from(const Parsed& json, const std::string& where) {
  Object o(json, where);
  return {o.integer("bytes", 0), o.text("xxh3_128")};
}

constexpr std::string_view kChecksum = "\"checksum\": \"";

// The bytes that the checksum covers; throws unless the file ends in exactly the right checksum.
std::string_view checked_body(std::string_view text, const std::string& name) {
  size_t at = text.rfind(kChecksum);
  if (at == text.npos) throw InvalidData(cat(name, ": does not end in a checksum: it is cut off, or not a lacuna.json"));
  std::string_view body = text.substr(0, at);
  std::string tail = cat(kChecksum, hash_hex(body), "\"\n}\n");
  if (text.substr(at) != tail) throw InvalidData(cat(name, ": its checksum is wrong: bytes have changed"));
  return body;
}

}  // namespace

Shape part_file_shape(const PartRecord& part) { return bits_of(part.dtype) < 8 ? Shape{part_bytes(part)} : part.shape; }

int64_t part_bytes(const PartRecord& part) {
  int64_t count = element_count(part.shape);
  if (bits_of(part.dtype) >= 8) return count * (bits_of(part.dtype) / 8);
  int64_t row = part.shape.empty() ? 1 : part.shape.back();
  return row == 0 ? 0 : count / row * ((row + 1) / 2);
}

int64_t weight_bytes(const WeightRecord& weight) {
  int64_t total = 0;
  for (auto& [name, part] : weight.parts) total += part_bytes(part);
  return total;
}

std::string json_text(const std::string& text) { return Json(text).dump(); }

std::string to_text(const LacunaJson& json) {
  std::string out = cat("{\n\"format\": \"lacuna\",\n\"version\": ", kLacunaVersion, ",\n\"source_kind\": ", json_text(json.source_kind),
                        ",\n\"graph\": ", json.graph, ",\n\"weights\": [");
  for (size_t i = 0; i < json.weights.size(); i++) out += cat(i ? ",\n" : "\n", to_json(json.weights[i]).dump());
  out += "\n],\n\"files\": {";
  bool first = true;
  for (auto& [name, file] : json.files) {
    out += cat(first ? "\n" : ",\n", json_text(name), ": ", to_json(file).dump());
    first = false;
  }
  out += "\n},\n";
  return out + cat(kChecksum, hash_hex(out), "\"\n}\n");
}

LacunaJson lacuna_from_text(std::string_view text, const std::string& name) {
  checked_body(text, name);
  Parsed json = parse(text, name);
  Object o(json, name);
  if (o.text("format") != "lacuna") o.fail(cat("'format' is '", o.text("format"), "', 'lacuna' wanted"));
  int64_t version = o.integer("version", 1);
  if (version > kLacunaVersion) throw Unsupported(cat(name, ": is of version ", version, ", this program reads up to ", kLacunaVersion));
  LacunaJson out{.source_kind = o.text("source_kind"), .graph = o.at("graph").dump()};
  const Parsed& weights = o.at("weights");
  if (!weights.is_array()) o.fail("'weights' is no list");
  for (size_t i = 0; i < weights.size(); i++) out.weights.push_back(weight_from(weights[i], cat(name, ": weight ", i)));
  const Parsed& files = o.at("files");
  if (!files.is_object()) o.fail("'files' is no object");
  for (auto& [file, record] : files.items()) out.files[file] = file_from(record, cat(name, ": file '", file, "'"));
  return out;
}

std::string to_text(const std::map<std::string, ShardRecord>& shards) {
  Json out = Json::object();
  for (auto& [name, shard] : shards) {
    Json weights = Json::array();
    for (auto& w : shard.weights) weights.push_back(to_json(w));
    out[name] = {{"file", to_json(shard.file)}, {"weights", std::move(weights)}};
  }
  return out.dump() + "\n";
}

std::map<std::string, ShardRecord> shards_from_text(std::string_view text, const std::string& name) {
  std::map<std::string, ShardRecord> out;
  Parsed json = parse(text, name);
  Object o(json, name);
  for (auto& [file, shard] : json.items()) {
    Object s(shard, cat(name, ": ", file));
    ShardRecord record{.file = file_from(s.at("file"), s.where())};
    for (auto& w : s.at("weights")) record.weights.push_back(weight_from(w, s.where()));
    out[file] = std::move(record);
  }
  return out;
}

}  // namespace lacuna
