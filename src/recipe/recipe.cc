// Recipe YAML:
//
//   stages:
//     - name: conv                      # optional
//       prune:                          # one line (a mapping) or several (a list)
//         - criterion: magnitude
//           sparsity: 0.6
//           pattern: unstructured
//           allocation: global
//           targets: [Conv2d]
//           ignore: ['re:.*downsample']
//           overrides: [{targets: [layer1.0.conv1], sparsity: 0.3}]
//       quantize: {weights: int8, activations: int8}   # likewise one line or several; after pruning
//
// A recipe of one stage may leave out `stages:`. Keys of other tools are accepted as aliases.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"
#include "lacuna/prune.h"

namespace lacuna {
namespace {

using Aliases = std::map<std::string, std::string>;

const Aliases kLineKeys = {{"sparsity", "sparsity"},
                           {"sparsity_ratio", "sparsity"},
                           {"final_sparsity", "sparsity"},
                           {"pruning_ratio", "sparsity"},
                           {"amount", "sparsity"},
                           {"target_sparsity", "sparsity"},
                           {"sparsity_level", "sparsity"},
                           {"pattern", "pattern"},
                           {"mask_structure", "pattern"},
                           {"sparsity_type", "pattern"},
                           {"mask_type", "pattern"},
                           {"criterion", "criterion"},
                           {"allocation", "allocation"},
                           {"sparsity_profile", "allocation"},
                           {"norm", "norm"},
                           {"targets", "targets"},
                           {"params", "targets"},
                           {"ignore", "ignore"},
                           {"ignored_layers", "ignore"},
                           {"include", "include"},
                           {"overrides", "overrides"},
                           {"seed", "seed"}};
const Aliases kOverrideKeys = {{"targets", "targets"}, {"sparsity", "sparsity"}, {"sparsity_ratio", "sparsity"}, {"final_sparsity", "sparsity"}};
const Aliases kQuantizeKeys = {{"weights", "weights"},
                               {"group_size", "group_size"},
                               {"activations", "activations"},
                               {"targets", "targets"},
                               {"requantize", "requantize"},
                               {"ignore", "ignore"},
                               {"include", "include"},
                               {"dataset", "dataset"},
                               {"method", "method"},
                               {"observer", "method"},
                               {"percentile", "percentile"},
                               {"num_calibration_samples", "num_calibration_samples"},
                               {"nsamples", "num_calibration_samples"},
                               {"resize", "resize"},
                               {"crop", "crop"},
                               {"mean", "mean"},
                               {"std", "std"}};
const Aliases kStageKeys = {
    {"name", "name"}, {"prune", "prune"}, {"MagnitudePruningModifier", "prune"}, {"quantize", "quantize"}, {"QuantizationModifier", "quantize"}};

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw InvalidData(mark.is_null() ? cat(name_, ": ", message) : cat(name_, ":", mark.line + 1, ": ", message));
  }

  // Calls handle(canonical key, value) for each key of a mapping; unknown and doubled keys are errors.
  void each_key(const YAML::Node& node, const Aliases& keys, std::string_view what,
                const std::function<void(const std::string&, const YAML::Node&)>& handle) const {
    if (!node.IsMap()) fail(node.Mark(), cat(what, " must be a mapping of keys to values"));
    std::map<std::string, std::string> seen;
    for (auto entry : node) {
      std::string key = scalar<std::string>(entry.first, "a key", "text");
      auto it = keys.find(key);
      if (it == keys.end()) {
        std::vector<std::string> known;
        for (auto& [alias, canonical] : keys)
          if (alias == canonical) known.push_back(alias);
        fail(entry.first.Mark(), cat("unknown key '", key, "' in ", what, "; known: ", join(known)));
      }
      auto [earlier, fresh] = seen.try_emplace(it->second, key);
      if (!fresh) fail(entry.first.Mark(), cat("'", key, "' says again what '", earlier->second, "' said"));
      handle(it->second, entry.second);
    }
  }

  template <class T>
  T scalar(const YAML::Node& node, std::string_view key, std::string_view wanted) const {
    try {
      if (node.IsScalar()) return node.as<T>();
    } catch (const YAML::Exception&) {
    }
    fail(node.Mark(), cat(key, ": wanted ", wanted, ", found ",
                          node.IsScalar() ? cat("'", node.Scalar(), "'")
                                          : std::string(node.IsSequence() ? "a list"
                                                        : node.IsMap()    ? "a mapping"
                                                                          : "nothing")));
  }

  double sparsity(const YAML::Node& node) const {
    double s = scalar<double>(node, "sparsity", "a number in [0, 1)");
    if (!(s >= 0 && s <= 1)) fail(node.Mark(), cat("sparsity must be in [0, 1), found ", s, s > 1 && s <= 100 ? " (write 0.5 for 50 %)" : ""));
    return s;
  }

  std::vector<std::string> names(const YAML::Node& node, std::string_view key) const {
    if (node.IsScalar()) return {node.Scalar()};
    if (!node.IsSequence()) fail(node.Mark(), cat(key, ": wanted a list of names, op types or re: patterns"));
    std::vector<std::string> out;
    for (auto item : node) out.push_back(scalar<std::string>(item, key, "text"));
    return out;
  }

  PruneLine line(const YAML::Node& node) const {
    PruneLine line;
    each_key(node, kLineKeys, "a prune line", [&](const std::string& key, const YAML::Node& value) {
      if (key == "sparsity")
        line.sparsity = sparsity(value);
      else if (key == "pattern")
        line.pattern = scalar<std::string>(value, key, "a pattern");
      else if (key == "criterion")
        line.criterion = scalar<std::string>(value, key, "a name");
      else if (key == "allocation")
        line.allocation = scalar<std::string>(value, key, "a name");
      else if (key == "norm")
        line.norm = scalar<std::string>(value, key, "l1 or l2");
      else if (key == "targets")
        line.targets = names(value, key);
      else if (key == "ignore")
        line.ignore = names(value, key);
      else if (key == "include")
        line.include = names(value, key);
      else if (key == "seed")
        line.seed = scalar<uint64_t>(value, key, "a whole number");
      else
        overrides(value, line);
    });
    return line;
  }

  QuantizeLine quantize_line(const YAML::Node& node) const {
    QuantizeLine line;
    each_key(node, kQuantizeKeys, "a quantize line", [&](const std::string& key, const YAML::Node& value) {
      if (key == "weights")
        line.weights = scalar<std::string>(value, key, "int8 or int4");
      else if (key == "group_size")
        line.group_size = scalar<int64_t>(value, key, "a whole number");
      else if (key == "requantize")
        line.requantize = scalar<bool>(value, key, "true or false");
      else if (key == "activations")
        line.activations = scalar<std::string>(value, key, "none or int8");
      else if (key == "targets")
        line.targets = names(value, key);
      else if (key == "ignore")
        line.ignore = names(value, key);
      else if (key == "include")
        line.include = names(value, key);
      else if (key == "dataset")
        line.dataset = scalar<std::string>(value, key, "a path");
      else if (key == "method")
        line.method = scalar<std::string>(value, key, "a name");
      else if (key == "percentile")
        line.percentile = scalar<double>(value, key, "a number");
      else if (key == "num_calibration_samples")
        line.num_calibration_samples = scalar<int64_t>(value, key, "a whole number");
      else if (key == "resize")
        line.resize = scalar<int64_t>(value, key, "a whole number");
      else if (key == "crop")
        line.crop = scalar<int64_t>(value, key, "a whole number");
      else
        (key == "mean" ? line.mean : line.deviation) = numbers(value, key);
    });
    return line;
  }

  std::vector<float> numbers(const YAML::Node& node, std::string_view key) const {
    if (!node.IsSequence()) fail(node.Mark(), cat(key, ": wanted a list of numbers"));
    std::vector<float> out;
    for (auto item : node) out.push_back(scalar<float>(item, key, "a number"));
    return out;
  }

  void overrides(const YAML::Node& node, PruneLine& line) const {
    if (!node.IsSequence()) fail(node.Mark(), "overrides: wanted a list of {targets, sparsity}");
    for (auto item : node) {
      PruneLine::Override override{{}, -1};
      each_key(item, kOverrideKeys, "an override", [&](const std::string& key, const YAML::Node& value) {
        if (key == "targets")
          override.targets = names(value, key);
        else
          override.sparsity = sparsity(value);
      });
      if (override.targets.empty() || override.sparsity < 0) fail(item.Mark(), "an override needs targets and sparsity");
      line.overrides.push_back(std::move(override));
    }
  }

  Stage stage(const YAML::Node& node, size_t index) const {
    Stage stage{cat("stage ", index + 1), {}, {}};
    // One line or a list of them.
    auto lines = [](const YAML::Node& value) {
      return value.IsSequence() ? std::vector<YAML::Node>(value.begin(), value.end()) : std::vector<YAML::Node>{value};
    };
    each_key(node, kStageKeys, "a stage", [&](const std::string& key, const YAML::Node& value) {
      if (key == "name")
        stage.name = scalar<std::string>(value, key, "text");
      else if (key == "prune")
        for (auto& item : lines(value)) stage.prune.push_back(line(item));
      else
        for (auto& item : lines(value)) stage.quantize.push_back(quantize_line(item));
    });
    if (stage.prune.empty() && stage.quantize.empty()) fail(node.Mark(), cat("stage '", stage.name, "' does nothing: wanted prune: or quantize:"));
    return stage;
  }

  Recipe recipe(const YAML::Node& root) const {
    if (!root.IsMap()) fail(root.Mark(), "wanted a mapping with 'stages:', 'prune:' or 'quantize:'");
    Recipe recipe;
    if (!root["stages"]) {
      recipe.stages.push_back(stage(root, 0));
      return recipe;
    }
    each_key(root, {{"stages", "stages"}}, "the recipe", [&](const std::string&, const YAML::Node& stages) {
      if (!stages.IsSequence()) fail(stages.Mark(), "stages: wanted a list");
      for (size_t i = 0; i < stages.size(); i++) recipe.stages.push_back(stage(stages[i], i));
    });
    if (recipe.stages.empty()) fail(root.Mark(), "the recipe has no stage");
    return recipe;
  }

 private:
  std::string name_;
};

void emit_names(YAML::Emitter& out, const char* key, const std::vector<std::string>& names) {
  if (!names.empty()) out << YAML::Key << key << YAML::Value << YAML::Flow << names;
}

void emit(YAML::Emitter& out, const PruneLine& line) {
  out << YAML::BeginMap << YAML::Key << "criterion" << YAML::Value << line.criterion;
  if (line.sparsity) out << YAML::Key << "sparsity" << YAML::Value << *line.sparsity;
  out << YAML::Key << "pattern" << YAML::Value << line.pattern << YAML::Key << "allocation" << YAML::Value << line.allocation;
  out << YAML::Key << "norm" << YAML::Value << line.norm;
  emit_names(out, "targets", line.targets);
  emit_names(out, "ignore", line.ignore);
  emit_names(out, "include", line.include);
  if (!line.overrides.empty()) {
    out << YAML::Key << "overrides" << YAML::Value << YAML::BeginSeq;
    for (auto& o : line.overrides) {
      out << YAML::BeginMap;
      emit_names(out, "targets", o.targets);
      out << YAML::Key << "sparsity" << YAML::Value << o.sparsity << YAML::EndMap;
    }
    out << YAML::EndSeq;
  }
  out << YAML::Key << "seed" << YAML::Value << line.seed << YAML::EndMap;
}

void emit(YAML::Emitter& out, const QuantizeLine& line) {
  out << YAML::BeginMap << YAML::Key << "weights" << YAML::Value << line.weights;
  if (line.weights == "int4") out << YAML::Key << "group_size" << YAML::Value << line.group_size;
  if (line.requantize) out << YAML::Key << "requantize" << YAML::Value << true;
  out << YAML::Key << "activations" << YAML::Value << line.activations;
  if (!line.dataset.empty()) {
    out << YAML::Key << "dataset" << YAML::Value << line.dataset << YAML::Key << "method" << YAML::Value << line.method;
    if (line.method == "percentile") out << YAML::Key << "percentile" << YAML::Value << line.percentile;
    out << YAML::Key << "num_calibration_samples" << YAML::Value << line.num_calibration_samples;
    if (line.resize) out << YAML::Key << "resize" << YAML::Value << line.resize;
    if (line.crop) out << YAML::Key << "crop" << YAML::Value << line.crop;
    if (!line.mean.empty()) out << YAML::Key << "mean" << YAML::Value << YAML::Flow << line.mean;
    if (!line.deviation.empty()) out << YAML::Key << "std" << YAML::Value << YAML::Flow << line.deviation;
  }
  emit_names(out, "targets", line.targets);
  emit_names(out, "ignore", line.ignore);
  emit_names(out, "include", line.include);
  out << YAML::EndMap;
}

}  // namespace

Recipe parse_recipe(const std::string& yaml, const std::string& name) {
  Reader reader(name);
  try {
    return reader.recipe(YAML::Load(yaml));
  } catch (const YAML::Exception& e) {
    reader.fail(e.mark, cat("not YAML: ", e.msg));
  }
}

std::string to_yaml(const Recipe& recipe) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "stages" << YAML::Value << YAML::BeginSeq;
  for (auto& stage : recipe.stages) {
    out << YAML::BeginMap << YAML::Key << "name" << YAML::Value << stage.name;
    if (!stage.prune.empty()) {
      out << YAML::Key << "prune" << YAML::Value << YAML::BeginSeq;
      for (auto& line : stage.prune) emit(out, line);
      out << YAML::EndSeq;
    }
    if (!stage.quantize.empty()) {
      out << YAML::Key << "quantize" << YAML::Value << YAML::BeginSeq;
      for (auto& line : stage.quantize) emit(out, line);
      out << YAML::EndSeq;
    }
    out << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace lacuna
