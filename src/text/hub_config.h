// tokenizer_config.json, with the model_type of config.json: what transformers adds to a tokenizer's own files.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"

namespace lacuna::text {

struct Parts;

class HubConfig {
 public:
  // A directory without these files gives an empty one. Throws InvalidData for files that are not JSON objects.
  static HubConfig read(const std::filesystem::path& directory);

  // Which tokenizer: "BertTokenizerFast" is "bert"; else the model_type; empty if neither is there.
  const std::string& family() const { return family_; }
  bool is_one_of(std::initializer_list<std::string_view> families) const;
  bool boolean(const std::string& key, bool otherwise) const;
  // A special token by its role ("bos_token"), or one with the content `otherwise`; nothing if that is null.
  std::optional<AddedToken> token(const std::string& role, const char* otherwise) const;
  std::string token_name(const std::string& role, const char* otherwise) const;

  // Adds the special tokens that the tokenizer's files do not have. If add_bos_token or add_eos_token is stated and the post-processor adds
  // nothing but these, or there is none, the statement decides.
  void apply(Parts& parts) const;

 private:
  std::string family_;
  std::map<std::string, bool> booleans_;
  std::map<std::string, AddedToken> roles_;
  std::vector<AddedToken> extra_;  // added_tokens_decoder in order of id, then additional_special_tokens
};

}  // namespace lacuna::text
