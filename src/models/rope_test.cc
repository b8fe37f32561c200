#include "models/rope.h"

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

// tests/fixtures/models/rope.json: what the formulas of transformers give, by tools/fixtures/models.py.
TEST(Rope, EqualsTransformersInBothSpellings) {
  std::string path = LACUNA_SOURCE_DIR "/tests/fixtures/models/rope.json";
  for (auto& item : Config::parse_array(read_text_file(path), path)) {
    auto wanted = item.object("wanted");
    for (const char* spelling : {"old", "new"}) {
      Rope rope = read_rope(*item.object(spelling), 64);
      auto frequencies = wanted->numbers("inv_freq");
      ASSERT_EQ(rope.inv_freq.size(), frequencies.size());
      for (size_t i = 0; i < frequencies.size(); i++) EXPECT_NEAR(rope.inv_freq[i] / frequencies[i], 1, 3e-7) << item.dump("old") << " " << i;
      EXPECT_NEAR(rope.attention_factor, wanted->number("attention_factor"), 1e-12);
    }
  }
}

TEST(Rope, TheDefaultHasNoTable) {
  for (const char* json : {R"({"rope_theta": 1e6})", R"({"rope_theta": 1e6, "rope_scaling": null})",
                           R"({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})",
                           R"({"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}})"}) {
    Rope rope = read_rope(Config::parse(json, "config.json"), 64);
    EXPECT_TRUE(rope.inv_freq.empty());
    EXPECT_EQ(rope.theta, 1e6);
    EXPECT_EQ(rope.rotary_dim, 64);
  }
}

TEST(Rope, RefusesWhatItDoesNotKnow) {
  auto read = [](const char* json) { return read_rope(Config::parse(json, "config.json"), 64); };
  EXPECT_THROW(read(R"({"rope_scaling": {"rope_type": "spiral", "factor": 2}})"), Unsupported);
  EXPECT_THROW(read(R"({"rope_scaling": {"rope_type": "linear"}})"), InvalidData);
  EXPECT_THROW(read(R"({"rope_scaling": {"rope_type": "linear", "factor": 0}})"), InvalidData);
  EXPECT_THROW(read(R"({"rope_theta": 0})"), InvalidData);
  EXPECT_THROW(read(R"({"partial_rotary_factor": 0.5})"), Unsupported);
  EXPECT_THROW(read(R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})"), Unsupported);
}

}  // namespace
}  // namespace lacuna
