#include <gtest/gtest.h>

#include "lacuna/error.h"
#include "lacuna/prune.h"

namespace lacuna {
namespace {

PruneLine only_line(const std::string& yaml) {
  Recipe recipe = parse_recipe(yaml);
  EXPECT_EQ(recipe.stages.size(), 1u);
  EXPECT_EQ(recipe.stages.at(0).prune.size(), 1u);
  return recipe.stages.at(0).prune.at(0);
}

std::string refusal(const std::string& yaml) {
  try {
    parse_recipe(yaml, "r.yaml");
  } catch (const InvalidData& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Recipe, ReadsEveryKeyOfAPruneLine) {
  PruneLine line = only_line(R"(
stages:
  - name: conv
    prune:
      - sparsity: 0.6
        pattern: block:4x1
        criterion: lamp
        allocation: global
        norm: l2
        targets: [Conv2d, 're:layer1.*']
        ignore: conv1
        include: [lm_head]
        overrides: [{targets: [layer1.0.conv1], sparsity: 0.3}]
        seed: 18446744073709551615
)");
  EXPECT_EQ(line.sparsity, 0.6);
  EXPECT_EQ(line.pattern, "block:4x1");
  EXPECT_EQ(line.criterion, "lamp");
  EXPECT_EQ(line.allocation, "global");
  EXPECT_EQ(line.norm, "l2");
  EXPECT_EQ(line.targets, (std::vector<std::string>{"Conv2d", "re:layer1.*"}));
  EXPECT_EQ(line.ignore, (std::vector<std::string>{"conv1"}));
  EXPECT_EQ(line.include, (std::vector<std::string>{"lm_head"}));
  ASSERT_EQ(line.overrides.size(), 1u);
  EXPECT_EQ(line.overrides[0].targets, (std::vector<std::string>{"layer1.0.conv1"}));
  EXPECT_EQ(line.overrides[0].sparsity, 0.3);
  EXPECT_EQ(line.seed, ~uint64_t(0));
}

TEST(Recipe, AcceptsTheSpellingsOfOtherTools) {
  for (const char* key : {"sparsity", "sparsity_ratio", "final_sparsity", "pruning_ratio", "amount", "target_sparsity", "sparsity_level"})
    EXPECT_EQ(only_line(std::string("prune: {") + key + ": 0.25}").sparsity, 0.25) << key;
  for (const char* key : {"pattern", "mask_structure", "sparsity_type", "mask_type"})
    EXPECT_EQ(only_line(std::string("prune: {") + key + ": '2:4'}").pattern, "2:4") << key;
  EXPECT_EQ(only_line("prune: {params: [a]}").targets, (std::vector<std::string>{"a"}));
  EXPECT_EQ(only_line("prune: {ignored_layers: [a]}").ignore, (std::vector<std::string>{"a"}));
  EXPECT_EQ(only_line("MagnitudePruningModifier: {final_sparsity: 0.5}").sparsity, 0.5);
  EXPECT_EQ(parse_recipe("quantize: {nsamples: 7}").stages[0].quantize[0].num_calibration_samples, 7);
  EXPECT_EQ(parse_recipe("quantize: {num_calibration_samples: 7}").stages[0].quantize[0].num_calibration_samples, 7);
}

TEST(Recipe, OneStageNeedsNoListAndNoName) {
  Recipe recipe = parse_recipe("prune: [{sparsity: 0.5, targets: a}, {sparsity: 0.6, targets: b}]");
  ASSERT_EQ(recipe.stages.size(), 1u);
  EXPECT_EQ(recipe.stages[0].name, "stage 1");
  EXPECT_EQ(recipe.stages[0].prune.size(), 2u);
}

TEST(Recipe, IsWrittenAsOneThatReadsTheSame) {
  for (std::string yaml : {"prune: {sparsity: 0.1, targets: ['re:a: b', \"c'd\"], overrides: [{targets: [e], sparsity: 1}], seed: 3}",
                           "stages: [{name: 'x: y', prune: {pattern: '8:16'}}, {quantize: {weights: int4, group_size: 64}}]"}) {
    std::string written = to_yaml(parse_recipe(yaml));
    EXPECT_EQ(to_yaml(parse_recipe(written)), written);
    EXPECT_EQ(only_line("prune: {sparsity: 0.1}").sparsity, 0.1);
  }
  EXPECT_EQ(parse_recipe(to_yaml(parse_recipe("prune: {sparsity: 0.1}"))).stages[0].prune[0].sparsity, 0.1);
}

TEST(Recipe, NamesTheLineTheKeyAndTheKnownOnes) {
  std::string message = refusal("prune:\n  sparsty: 0.5\n");
  EXPECT_TRUE(message.starts_with("r.yaml:2: unknown key 'sparsty' in a prune line; known: ")) << message;
  EXPECT_NE(message.find("sparsity"), std::string::npos);
  EXPECT_EQ(message.find("sparsity_ratio"), std::string::npos) << "aliases are read, not advertised";
  EXPECT_EQ(refusal("prune:\n  sparsity: 0.5\n  amount: 0.5\n"), "r.yaml:3: 'amount' says again what 'sparsity' said");
  EXPECT_NE(refusal("stages: [{train: {}}]").find("unknown key 'train' in a stage"), std::string::npos);
  EXPECT_NE(refusal("prune: {overrides: [{target: a}]}").find("unknown key 'target' in an override"), std::string::npos);
}

TEST(Recipe, RefusesValuesOfTheWrongKind) {
  struct Case {
    std::string yaml, says;
  };
  for (auto& c : {Case{"prune: {sparsity: much}", "sparsity: wanted a number in [0, 1), found 'much'"},
                  {"prune: {sparsity: 50}", "must be in [0, 1), found 50 (write 0.5 for 50 %)"},
                  {"prune: {sparsity: -0.5}", "must be in [0, 1), found -0.5"},
                  {"prune: {sparsity: .nan}", "must be in [0, 1)"},
                  {"prune: {sparsity: [0.5]}", "found a list"},
                  {"prune: {seed: -1}", "seed: wanted a whole number"},
                  {"prune: {seed: 0.5}", "seed: wanted a whole number"},
                  {"prune: {pattern: {n: 2}}", "pattern: wanted a pattern, found a mapping"},
                  {"prune: {targets: {a: b}}", "targets: wanted a list"},
                  {"prune: {targets: [[a]]}", "targets: wanted text, found a list"},
                  {"prune: {overrides: {targets: a, sparsity: 0.1}}", "overrides: wanted a list"},
                  {"prune: {overrides: [{targets: a}]}", "an override needs targets and sparsity"},
                  {"prune: 0.5", "a prune line must be a mapping"},
                  {"stages: {}", "stages: wanted a list"},
                  {"stages: []", "the recipe has no stage"},
                  {"{}", "does nothing"},
                  {"[]", "wanted a mapping"},
                  {"", "wanted a mapping"},
                  {"prune: [", "not YAML"}})
    EXPECT_NE(refusal(c.yaml).find(c.says), std::string::npos) << c.yaml << "\n" << refusal(c.yaml);
}

}  // namespace
}  // namespace lacuna
