// A JSON object out of a model directory, read with types and ranges checked: every message names the file, the key, what was
// found and what was wanted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

class Config {
 public:
  // Throws InvalidData unless `json` is one object (nesting at most 64 deep); `source` opens every message.
  static Config parse(std::string_view json, std::string source);
  // The elements of an array of objects. Throws InvalidData.
  static std::vector<Config> parse_array(std::string_view json, std::string source);

  const std::string& source() const { return source_; }
  std::vector<std::string> keys() const;
  bool has(std::string_view key) const;  // there and not null

  // Without a fallback a missing key throws InvalidData.
  int64_t integer(std::string_view key, std::optional<int64_t> fallback = {}, int64_t low = 1, int64_t high = int64_t(1) << 31) const;
  double number(std::string_view key, std::optional<double> fallback = {}) const;
  bool flag(std::string_view key, std::optional<bool> fallback = {}) const;
  std::string text(std::string_view key, std::optional<std::string> fallback = {}) const;
  // An integer or an array of them (eos_token_id); empty if absent.
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;     // empty if absent
  std::vector<std::string> texts(std::string_view key) const;  // empty if absent
  std::optional<Config> object(std::string_view key) const;    // nullopt if absent
  std::string dump(std::string_view key) const;                // the value as JSON text, for messages

  // Refuses a feature that no builder knows: throws Unsupported unless `key` is absent, null, or equals `accepted` (JSON text).
  void require(std::string_view key, std::string_view accepted) const;

 private:
  struct Json;
  Config(std::shared_ptr<const Json> json, std::string source) : json_(std::move(json)), source_(std::move(source)) {}
  [[noreturn]] void wrong_type(std::string_view key, std::string_view wanted) const;
  [[noreturn]] void missing(std::string_view key) const;
  std::shared_ptr<const Json> json_;
  std::string source_;
};

}  // namespace lacuna
