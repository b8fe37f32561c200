#include "models/config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/cat.h"
#include "base/json_depth.h"
#include "lacuna/error.h"

namespace lacuna {

struct Config::Json {
  nlohmann::json value;
  // nullptr if absent or null.
  const nlohmann::json* find(std::string_view key) const {
    auto it = value.find(key);
    return it == value.end() || it->is_null() ? nullptr : &*it;
  }
};

namespace {

nlohmann::json parse_bounded(std::string_view text, const std::string& source) {
  if (json_depth(text) > 64) throw InvalidData(cat(source, ": is nested more than 64 deep"));
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw InvalidData(cat(source, ": is not JSON: ", error.what()));
  }
}

std::string brief(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() > 200 ? text.substr(0, 200) + "..." : text;
}

}  // namespace

Config Config::parse(std::string_view json, std::string source) {
  if (json.empty()) throw InvalidData(cat(source, ": is empty (0 bytes)"));
  nlohmann::json value = parse_bounded(json, source);
  if (!value.is_object()) throw InvalidData(cat(source, ": is ", value.type_name(), ", an object wanted"));
  return Config(std::make_shared<const Json>(Json{std::move(value)}), std::move(source));
}

std::vector<Config> Config::parse_array(std::string_view json, std::string source) {
  nlohmann::json value = parse_bounded(json, source);
  if (!value.is_array()) throw InvalidData(cat(source, ": is ", value.type_name(), ", an array wanted"));
  std::vector<Config> out;
  for (auto& element : value) {
    if (!element.is_object()) throw InvalidData(cat(source, ": holds ", element.type_name(), ", objects wanted"));
    out.push_back(Config(std::make_shared<const Json>(Json{std::move(element)}), source));
  }
  return out;
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> out;
  for (auto& [key, value] : json_->value.items()) out.push_back(key);
  return out;
}

bool Config::has(std::string_view key) const { return json_->find(key) != nullptr; }

void Config::wrong_type(std::string_view key, std::string_view wanted) const {
  throw InvalidData(cat(source_, ": '", key, "' is ", brief(*json_->find(key)), ", ", wanted, " wanted"));
}
void Config::missing(std::string_view key) const { throw InvalidData(cat(source_, ": '", key, "' is missing")); }

int64_t Config::integer(std::string_view key, std::optional<int64_t> fallback, int64_t low, int64_t high) const {
  const nlohmann::json* value = json_->find(key);
  if (!value && fallback) return *fallback;
  if (!value) missing(key);
  double as_double = value->is_number() ? value->get<double>() : NAN;
  if (!(as_double >= double(low) && as_double <= double(high)) || std::floor(as_double) != as_double)
    wrong_type(key, cat("an integer from ", low, " to ", high));
  return value->is_number_float() ? int64_t(as_double) : value->get<int64_t>();
}

double Config::number(std::string_view key, std::optional<double> fallback) const {
  const nlohmann::json* value = json_->find(key);
  if (!value && fallback) return *fallback;
  if (!value) missing(key);
  if (!value->is_number()) wrong_type(key, "a number");
  return value->get<double>();
}

bool Config::flag(std::string_view key, std::optional<bool> fallback) const {
  const nlohmann::json* value = json_->find(key);
  if (!value && fallback) return *fallback;
  if (!value) missing(key);
  if (!value->is_boolean()) wrong_type(key, "true or false");
  return value->get<bool>();
}

std::string Config::text(std::string_view key, std::optional<std::string> fallback) const {
  const nlohmann::json* value = json_->find(key);
  if (!value && fallback) return *fallback;
  if (!value) missing(key);
  if (!value->is_string()) wrong_type(key, "a string");
  return value->get<std::string>();
}

std::vector<int64_t> Config::integers(std::string_view key) const {
  const nlohmann::json* value = json_->find(key);
  if (!value) return {};
  if (value->is_number_integer()) return {value->get<int64_t>()};
  if (!value->is_array()) wrong_type(key, "an integer or an array of them");
  std::vector<int64_t> out;
  for (auto& element : *value) {
    if (!element.is_number_integer()) wrong_type(key, "an array of integers");
    out.push_back(element.get<int64_t>());
  }
  return out;
}

std::vector<double> Config::numbers(std::string_view key) const {
  const nlohmann::json* value = json_->find(key);
  if (!value) return {};
  if (!value->is_array()) wrong_type(key, "an array of numbers");
  std::vector<double> out;
  for (auto& element : *value) {
    if (!element.is_number()) wrong_type(key, "an array of numbers");
    out.push_back(element.get<double>());
  }
  return out;
}

std::vector<std::string> Config::texts(std::string_view key) const {
  const nlohmann::json* value = json_->find(key);
  if (!value) return {};
  if (!value->is_array()) wrong_type(key, "an array of strings");
  std::vector<std::string> out;
  for (auto& element : *value) {
    if (!element.is_string()) wrong_type(key, "an array of strings");
    out.push_back(element.get<std::string>());
  }
  return out;
}

std::optional<Config> Config::object(std::string_view key) const {
  const nlohmann::json* value = json_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_object()) wrong_type(key, "an object");
  return Config(std::make_shared<const Json>(Json{*value}), cat(source_, ": ", key));
}

std::string Config::dump(std::string_view key) const {
  const nlohmann::json* value = json_->find(key);
  return value ? brief(*value) : "null";
}

void Config::require(std::string_view key, std::string_view accepted) const {
  const nlohmann::json* value = json_->find(key);
  if (value && brief(*value) != accepted)
    throw Unsupported(cat(source_, ": '", key, "' is ", brief(*value), "; Lacuna runs this family with ", accepted, " only"));
}

}  // namespace lacuna
