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
  // Gives roles ("bos_token") that the files leave open the tokens that the tokenizer's class has for them.
  void assume(std::initializer_list<std::pair<const char*, const char*>> roles);
  void assume_flag(const char* key, bool value) { booleans_.try_emplace(key, value); }
  // The token of a role; empty if it has none.
  std::string token(const std::string& role) const;

  // Adds the special tokens that the tokenizer's files do not have.
  void add_tokens(Parts& parts) const;
  // Puts the bos and eos tokens around texts as add_bos_token and add_eos_token say.
  void add_bos_eos(Parts& parts) const;

 private:
  std::string family_;
  std::map<std::string, bool> booleans_;
  std::map<std::string, AddedToken> roles_;  // with empty content: the files say that there is none
  std::vector<AddedToken> decoder_;          // added_tokens_decoder in order of id
  std::vector<AddedToken> additional_;       // additional_special_tokens
};

}  // namespace lacuna::text
