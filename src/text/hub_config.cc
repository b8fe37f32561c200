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
    config.roles_[role] = token_of(file[role], true).value_or(AddedToken());
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
  for (auto& [id, token] : by_id) config.decoder_.push_back(std::move(token));
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    auto it = file.find(key);
    if (it == file.end() || !it->is_array()) continue;
    for (const json& value : *it) {
      if (auto token = token_of(value, true)) config.additional_.push_back(*token);
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

void HubConfig::assume(std::initializer_list<std::pair<const char*, const char*>> roles) {
  for (auto [role, content] : roles) roles_.try_emplace(role, AddedToken{.content = content, .special = true});
}

std::string HubConfig::token(const std::string& role) const {
  auto it = roles_.find(role);
  return it == roles_.end() ? std::string() : it->second.content;
}

void HubConfig::add_tokens(Parts& parts) const {
  auto add_missing = [&](const AddedToken& token) {
    if (!parts.added.by_content(token.content)) parts.added.add(token, parts.model->vocabulary());
  };
  for (const AddedToken& token : decoder_) add_missing(token);
  for (const char* role : kRoles) {
    if (auto it = roles_.find(role); it != roles_.end()) add_missing(it->second);
  }
  for (const AddedToken& token : additional_) add_missing(token);
  Digest d;
  d.add(parts.hash);
  for (const AddedToken& token : parts.added.tokens()) {
    d.add(cat(token.id, ' ', token.content, ' ', token.single_word, token.lstrip, token.rstrip, token.normalized));
  }
  for (const auto& [key, value] : booleans_) d.add(cat(key, value));
  parts.hash = d.value();
}

void HubConfig::add_bos_eos(Parts& parts) const {
  auto id_of = [&](const char* key, const char* role) {
    const AddedToken* token = boolean(key, false) ? parts.added.by_content(this->token(role)) : nullptr;
    return token ? token->id : -1;
  };
  set_bos_eos(parts, id_of("add_bos_token", "bos_token"), id_of("add_eos_token", "eos_token"));
}

}  // namespace lacuna::text
