#include "text/hub_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/buffer.h"
#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/components.h"
#include "text/digest.h"

namespace lacuna::text {
namespace {

using nlohmann::json;

constexpr const char* kRoles[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

json read_object(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return json::object();
  json file;
  try {
    file = json::parse(read_text_file(path, size_t(64) << 20));
  } catch (const json::exception& e) {
    throw InvalidData(cat(path, ": not JSON: ", e.what()));
  }
  if (!file.is_object()) throw InvalidData(cat(path, ": found a JSON ", file.type_name(), ", wanted an object"));
  return file;
}

std::string string_of(const json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// "<s>" or {"content": "<s>", "lstrip": false, ...}
std::optional<AddedToken> token_of(const json& value, bool special) {
  AddedToken token;
  if (value.is_string()) {
    token.content = value.get<std::string>();
    token.special = special;
    token.normalized = !special;
    return token;
  }
  if (!value.is_object()) return std::nullopt;
  auto flag = [&](const char* key, bool otherwise) {
    auto it = value.find(key);
    return it != value.end() && it->is_boolean() ? it->get<bool>() : otherwise;
  };
  token.content = string_of(value, "content");
  token.single_word = flag("single_word", false);
  token.lstrip = flag("lstrip", false);
  token.rstrip = flag("rstrip", false);
  token.special = flag("special", special);
  token.normalized = flag("normalized", !token.special);
  return token;
}

}  // namespace

HubConfig HubConfig::read(const std::filesystem::path& directory) {
  json file = read_object(directory / "tokenizer_config.json");
  HubConfig config;
  std::string name = string_of(file, "tokenizer_class");
  for (std::string_view ending : {"Fast", "Tokenizer"}) {
    if (name.ends_with(ending)) name.resize(name.size() - ending.size());
  }
  if (name.empty()) name = string_of(read_object(directory / "config.json"), "model_type");
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  std::erase_if(name, [](char c) { return c == '_' || c == '-'; });
  config.family_ = name;

  for (const auto& [key, value] : file.items()) {
    if (value.is_boolean()) config.booleans_[key] = value.get<bool>();
  }
  for (const char* role : kRoles) {
    if (!file.contains(role)) continue;
    if (auto token = token_of(file[role], true)) config.roles_[role] = *token;
  }
  std::map<int64_t, AddedToken> by_id;
  if (auto it = file.find("added_tokens_decoder"); it != file.end() && it->is_object()) {
    for (const auto& [id, value] : it->items()) {
      if (id.empty() || id.size() > 9 || !std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        throw InvalidData(cat(directory / "tokenizer_config.json", ": added_tokens_decoder: found '", id, "', wanted an id"));
      }
      if (auto token = token_of(value, false)) by_id[std::stoll(id)] = *token;
    }
  }
  for (auto& [id, token] : by_id) config.extra_.push_back(std::move(token));
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    auto it = file.find(key);
    if (it == file.end() || !it->is_array()) continue;
    for (const json& value : *it) {
      if (auto token = token_of(value, true)) config.extra_.push_back(*token);
    }
  }
  return config;
}

bool HubConfig::is_one_of(std::initializer_list<std::string_view> families) const {
  return std::find(families.begin(), families.end(), family_) != families.end();
}

bool HubConfig::boolean(const std::string& key, bool otherwise) const {
  auto it = booleans_.find(key);
  return it == booleans_.end() ? otherwise : it->second;
}

std::optional<AddedToken> HubConfig::token(const std::string& role, const char* otherwise) const {
  if (auto it = roles_.find(role); it != roles_.end()) return it->second;
  if (!otherwise) return std::nullopt;
  AddedToken token;
  token.content = otherwise;
  token.special = true;
  return token;
}

std::string HubConfig::token_name(const std::string& role, const char* otherwise) const {
  auto named = token(role, otherwise);
  return named ? named->content : std::string();
}

void HubConfig::apply(Parts& parts) const {
  const Vocabulary& vocabulary = parts.model->vocabulary();
  auto add_missing = [&](const AddedToken& token) {
    if (!parts.added.by_content(token.content)) parts.added.add(token, vocabulary);
  };
  for (const AddedToken& token : extra_) add_missing(token);
  for (const char* role : kRoles) {
    if (auto it = roles_.find(role); it != roles_.end()) add_missing(it->second);
  }
  Digest d;
  d.add(std::to_string(parts.hash));
  for (const AddedToken& token : parts.added.tokens()) {
    d.add(cat(token.id, ' ', token.content, ' ', token.single_word, token.lstrip, token.rstrip, token.normalized));
  }
  for (const auto& [key, value] : booleans_) d.add(cat(key, value));
  parts.hash = d.value();

  if (!booleans_.contains("add_bos_token") && !booleans_.contains("add_eos_token")) return;
  auto id_of = [&](const char* key, const char* role) -> int32_t {
    auto it = roles_.find(role);
    if (!boolean(key, false) || it == roles_.end()) return -1;
    const AddedToken* token = parts.added.by_content(it->second.content);
    return token ? token->id : -1;
  };
  auto role_id = [&](const char* role) {
    auto it = roles_.find(role);
    const AddedToken* token = it == roles_.end() ? nullptr : parts.added.by_content(it->second.content);
    return token ? token->id : -1;
  };
  for (const auto& processor : parts.post_processors) {
    if (!processor->adds_only(role_id("bos_token"), role_id("eos_token"))) return;
  }
  parts.post_processors.clear();
  set_bos_eos(parts, id_of("add_bos_token", "bos_token"), id_of("add_eos_token", "eos_token"));
}

}  // namespace lacuna::text
