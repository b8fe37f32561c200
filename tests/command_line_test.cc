// What the program says: JSON of failures, plans, sizes and messages, on the small models of tests/fixtures.
#include "program.h"

namespace lacuna::test {
namespace {

const std::string kLlama = (kFixtures / "models/llama").string();
const std::string kLlamaGguf = (kFixtures / "models/llama.gguf").string();

TEST_F(Program, AFailureIsJsonForThoseWhoAskedForJsonAndWordsForAll) {
  const std::vector<std::string> commands = {"inspect none.onnx",
                                             "prune none -o x --sparsity 0.5",
                                             "quantize none -o x",
                                             "verify none",
                                             "eval none --protocol top1 --dataset " + kLlama,
                                             "run none --prompt x",
                                             "bench none",
                                             "advise none",
                                             "convert none -o x.onnx",
                                             "sparsify " + kLlama + " --recipe none -o x"};
  for (auto& command : commands) {
    Result r = lacuna(command + " --json");
    EXPECT_EQ(r.status, 1) << command;
    ASSERT_TRUE(nlohmann::json::accept(r.out)) << command << "\n" << r.out;
    EXPECT_EQ(r.json()["error"]["code"], "not_found") << command;
    std::string message = r.json()["error"]["message"];
    EXPECT_NE(message.find("none"), std::string::npos) << command << ": " << message;
    EXPECT_NE(r.err.find(message), std::string::npos) << command;
    Result words = lacuna(command);
    EXPECT_EQ(words.status, 1) << command;
    EXPECT_EQ(words.out, "") << command;
  }
  Result usage = lacuna("prune " + kLlama + " --json --sparsitty 0.5");
  EXPECT_EQ(usage.status, 2);
  EXPECT_EQ(usage.json()["error"]["code"], "usage");
  EXPECT_NE(usage.err.find("--sparsitty"), std::string::npos) << usage.err;
  EXPECT_NE(usage.err.find("lacuna prune --help"), std::string::npos) << usage.err;
}

TEST_F(Program, ADryRunSaysWhatIsKnownAndNothingElse) {
  Result r = lacuna("prune " + kLlama + " --sparsity 0.5 --dry-run --json");
  ASSERT_EQ(r.status, 0) << r.err;
  auto plan = r.json();
  ASSERT_EQ(lacuna("prune " + kLlama + " --sparsity 0.5 -o " + at("small")).status, 0);
  auto done = nlohmann::json::parse(read_all(folder_ / "small/report.json"));
  for (const char* key : {"claimed_parameters", "total_parameters", "bytes_before"}) {
    EXPECT_GT(plan[key], 0) << key;
    EXPECT_EQ(plan[key], done[key]) << key;
  }
  for (const char* key : {"sparsity", "claimed_zeros", "total_zeros", "bytes_after"}) EXPECT_FALSE(plan.contains(key)) << key;
  ASSERT_EQ(plan["weights"].size(), done["weights"].size());
  for (auto& w : plan["weights"]) {
    EXPECT_NEAR(w["planned_sparsity"].get<double>(), 0.5, 0.001) << w;
    EXPECT_EQ(w["pattern"], "unstructured");
    for (const char* key : {"zeros", "sparsity", "format", "bytes_after", "rounding_error"}) EXPECT_FALSE(w.contains(key)) << key;
  }
  // Which allocation knows its shares without ranking weights.
  std::string prune = "prune " + kLlama + " --sparsity 0.5 --dry-run --json --allocation ";
  for (auto report = lacuna(prune + "erk").json(); auto& w : report["weights"]) EXPECT_TRUE(w.contains("planned_sparsity")) << w;
  for (auto report = lacuna(prune + "global").json(); auto& w : report["weights"]) EXPECT_FALSE(w.contains("planned_sparsity")) << w;
}

TEST_F(Program, InspectCountsTheFilesOfTheModelAlone) {
  std::filesystem::copy(kLlama, folder_ / "llama");
  std::ofstream(at("llama/pytorch_model.bin")) << "the same weights again";
  std::ofstream(at("llama/notes.txt")) << "mine";
  auto size = [&](const char* name) { return int64_t(std::filesystem::file_size(folder_ / "llama" / name)); };
  EXPECT_EQ(lacuna("inspect " + at("llama") + " --json").json()["file_bytes"].get<int64_t>(), size("config.json") + size("model.safetensors"));
}

TEST_F(Program, ASelectorThatMatchesNothingIsAnsweredWithTheClosestNames) {
  auto refusal = [&](const std::string& target) { return lacuna("prune " + kLlama + " --dry-run --sparsity 0.5 --targets " + target).err; };
  std::string typo = refusal("model.layers.1.mlp.up_pro.weight");
  EXPECT_NE(typo.find("matches no weight"), std::string::npos) << typo;
  EXPECT_NE(typo.find("model.layers.1.mlp.up_proj.weight"), std::string::npos) << typo;
  EXPECT_EQ(typo.find("model.layers.0.self_attn.o_proj.weight"), std::string::npos) << typo;
  EXPECT_NE(refusal("linnear").find("Linear"), std::string::npos);
  std::string regex = refusal("'re:.*down_prj'");
  EXPECT_NE(regex.find("model.layers.0.mlp.down_proj"), std::string::npos) << regex;
}

TEST_F(Program, EvalNamesTheFileThatItCannotUse) {
  auto message = [&](const std::string& dataset, const std::string& more = "--max-seq-length 16") {
    Result r = lacuna("eval " + kLlamaGguf + " --protocol perplexity --dataset " + dataset + " " + more);
    EXPECT_EQ(r.status, 1) << r.out;
    return r.err;
  };
  std::string binary = message(kLlamaGguf);
  EXPECT_NE(binary.find("llama.gguf: byte "), std::string::npos) << binary;
  EXPECT_NE(binary.find("no text"), std::string::npos) << binary;
  std::ofstream(at("empty.txt"));
  EXPECT_NE(message(at("empty.txt")).find("empty.txt: is empty"), std::string::npos);
  std::ofstream(at("short.txt")) << "one";
  EXPECT_NE(message(at("short.txt")).find("short.txt: has "), std::string::npos);
  EXPECT_NE(message(at("")).find("is a directory"), std::string::npos);

  std::string text;
  for (int i = 0; i < 40; i++) text += "one two three ";
  std::ofstream(at("latin1.txt")) << text << "caf\xe9 au lait";
  Result r = lacuna("eval " + kLlamaGguf + " --protocol perplexity --max-seq-length 2 --max-windows 1 --dataset " + at("latin1.txt") + " --json");
  ASSERT_EQ(r.status, 0) << r.err;
  ASSERT_EQ(r.json()["needs_attention"].size(), 1u) << r.out;
  std::string remark = r.json()["needs_attention"][0];
  EXPECT_NE(remark.find("latin1.txt: is not UTF-8 from byte " + std::to_string(text.size() + 3)), std::string::npos) << remark;

  std::string bert = (kFixtures / "families/bert-mlm-untied").string();
  if (std::filesystem::exists(bert)) {
    Result encoder = lacuna("eval " + bert + " --protocol top1 --dataset " + kLlama);
    EXPECT_EQ(encoder.status, 1);
    EXPECT_NE(encoder.err.find("bert-mlm-untied"), std::string::npos) << encoder.err;
  }
}

}  // namespace
}  // namespace lacuna::test
