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

TEST_F(Program, AWordThatIsNoVerbOrOptionIsAnsweredWithTheNearestAndAll) {
  auto message = [&](const std::string& arguments) {
    Result r = lacuna(arguments);
    EXPECT_EQ(r.status, 2) << arguments;
    return r.err;
  };
  std::string verb = message("prun " + kLlama);
  EXPECT_NE(verb.find("unknown verb 'prun'; did you mean 'prune'? Known: inspect, prune, "), std::string::npos) << verb;
  std::string serve = message("serve " + kLlama);
  EXPECT_NE(serve.find("unknown verb 'serve'. Known: inspect"), std::string::npos) << serve;
  std::string option = message("bench " + kLlama + " --thread=1");
  EXPECT_NE(option.find("unknown option '--thread'; did you mean '--threads'? Known: "), std::string::npos) << option;
  EXPECT_NE(option.find("--prompt-tokens"), std::string::npos) << option;
  EXPECT_NE(message("--jsn").find("The verbs: inspect, prune"), std::string::npos);
}

TEST_F(Program, ATraceThatIsUnknownIsToldSo) {
  ASSERT_EQ(setenv("LACUNA_TRACE", "kernels", 1), 0);
  Result r = lacuna("bench " + kLlama + " --precision own --prompt-tokens 2 --new-tokens 2 --runs 1");
  unsetenv("LACUNA_TRACE");
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.err.find("LACUNA_TRACE=kernels is unknown; known: dispatch"), std::string::npos) << r.err;
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
  std::ofstream(at("empty.txt")) << "";
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

TEST_F(Program, CountsOutsideOfTheirRangeAreRefusedInASentence) {
  std::ofstream(at("x.txt")) << "text";
  struct Case {
    std::string command, says;
  };
  for (auto& c :
       {Case{"eval " + kLlama + " --protocol top1 --dataset " + at("x.txt") + " --batch 0", "--batch must be at least 1, found 0"},
        Case{"eval " + kLlama + " --protocol top1 --dataset " + at("x.txt") + " --limit -1", "--limit must be at least 0, found -1"},
        Case{"eval " + kLlama + " --protocol perplexity --dataset " + at("x.txt") + " --max-seq-length 1", "--max-seq-length must be at least 2"},
        Case{"bench " + kLlama + " --batch 1 0", "--batch must be at least 1, found 0"},
        Case{"bench " + kLlama + " --threads 0", "--threads must be at least 1, found 0"},
        Case{"bench " + kLlama + " --runs 0", "--runs must be at least 1, found 0"},
        Case{"advise " + kLlama + " --threads 0", "--threads must be at least 1, found 0"},
        Case{"bench " + kLlama + " --threads 999", "--threads 999: wanted 1 to "},
        Case{"bench --kernel 'spmm f32 dense m=8 k=8' --threads 999", "--threads 999: wanted 1 to "},
        Case{"advise " + kLlama + " --threads 999", "--threads 999: wanted 1 to "},
        Case{"run " + kLlama + " --prompt x --max-tokens 0", "--max-tokens must be at least 1, found 0"},
        Case{"quantize " + kLlama + " -o " + at("q") + " --nsamples 0", "--num-calibration-samples must be at least 1, found 0"}}) {
    Result r = lacuna(c.command);
    EXPECT_EQ(r.status, 1) << c.command;
    EXPECT_NE(r.err.find(c.says), std::string::npos) << c.command << ": " << r.err;
  }
}

// As a variable of the shell that is not set leaves it.
TEST_F(Program, AnEmptyNumberIsNoZero) {
  for (const std::string arguments : {"prune " + kLlama + " -o " + at("out") + " --sparsity ''", "bench " + kLlama + " --runs ''"}) {
    Result r = lacuna(arguments);
    EXPECT_EQ(r.status, 2) << arguments;
    EXPECT_NE(r.err.find("found nothing, wanted a number"), std::string::npos) << r.err;
  }
  EXPECT_FALSE(std::filesystem::exists(at("out")));
  Result nan = lacuna("advise " + kLlama + " --precision f32 --pattern unstructured --sparsity nan");
  EXPECT_EQ(nan.status, 1);
  EXPECT_NE(nan.err.find("found sparsity nan, wanted 0 or more"), std::string::npos) << nan.err;
}

TEST_F(Program, ConvertLeavesAloneWhatNoModelIsCalled) {
  std::ofstream(at("notes.txt")) << "mine";
  for (const std::string arguments : {at("notes.txt") + " --to gguf --force", at("new"), at("notes.gguf/")}) {
    Result r = lacuna("convert " + kLlamaGguf + " -o " + arguments);
    EXPECT_EQ(r.status, 1) << arguments;
    EXPECT_NE(r.err.find("gguf"), std::string::npos) << r.err;
  }
  EXPECT_EQ(read_all(at("notes.txt")), "mine");
  EXPECT_FALSE(std::filesystem::exists(at("new")));
  EXPECT_FALSE(std::filesystem::exists(at("notes.gguf")));
}

TEST_F(Program, ASingleProblemIsAnsweredWithWhatItLeftOut) {
  auto out = [&](const std::string& problem) {
    Result r = lacuna("bench --kernel " + problem + " --runs 1 --threads 1");
    EXPECT_EQ(r.status, 0) << problem << ": " << r.err;
    return r.out;
  };
  std::string one = out("'spmm f32 unstructured m=32 k=32'");
  EXPECT_EQ(one.find("spmm f32 unstructured m=32 k=32 n=1 sparsity=0\n"), 0u) << one;
  EXPECT_NE(one.find("got by default: n=1 sparsity=0\n"), std::string::npos) << one;
  EXPECT_EQ(out("'spmm f32 unstructured m=32 k=32 n=4 sparsity=0.9'").find("got by default"), std::string::npos);
  EXPECT_EQ(out("'spmm f32 4:16 m=32 k=32 n=4'").find("got by default"), std::string::npos);
  std::string several = out("'spmm f32 unstructured m={32,64} k=32 sparsity=0.9'");
  EXPECT_NE(several.find("m=64 k=32 sparsity=0.9' leaves out, and got by default: n=1\n"), std::string::npos) << several;
  EXPECT_NE(several.find("| our dense us | speed-up over it |"), std::string::npos) << several;
}

TEST_F(Program, SimilarityOfADecoderSaysWhatTheProtocolNeeds) {
  std::ofstream(at("pairs.csv")) << "a,b,1\nc,d,2\n";
  Result r = lacuna("eval " + kLlama + " --protocol similarity --dataset " + at("pairs.csv"));
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.err.find("protocol similarity compares the pooled embeddings of an encoder; this model is a decoder (llama)"), std::string::npos)
      << r.err;
}

TEST_F(Program, QuantizeRefusesWhatWouldChangeNothing) {
  auto message = [&](const std::string& options) { return lacuna("quantize " + kLlama + " -o " + at("q") + " " + options).err; };
  EXPECT_NE(message("--group-size 64").find("--group-size has no effect without --weights int4"), std::string::npos);
  EXPECT_NE(message("--dataset " + at(".")).find("--dataset has no effect without --activations int8"), std::string::npos);
  EXPECT_NE(message("--activations int8 --crop 20").find("--crop has no effect without --dataset"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(at("q")));
  Result r = lacuna("quantize " + kLlama + " -o " + at("q") + " --weights int4 --group-size 32");
  EXPECT_EQ(r.status, 0) << r.err;
}

TEST_F(Program, SizesOfInputsAreTakenByVerifyAndNamedInErrors) {
  const std::string bert = (kFixtures / "families/bert-pooler").string();
  ASSERT_EQ(lacuna("prune " + bert + " -o " + at("small") + " --sparsity 0.5").status, 0);
  Result r = lacuna("verify " + bert + " " + at("small") + " --dim tokens=5");
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("verified"), std::string::npos) << r.out;
  EXPECT_NE(lacuna("verify " + bert + " " + at("small") + " --dim nonsense=5").err.find("nonsense"), std::string::npos);
  EXPECT_NE(lacuna("inspect " + bert + " --dim batch=4").err.find("--dim batch=4: this dimension counts items"), std::string::npos);
}

TEST_F(Program, EmptyFilesAreNamedAndSaidToBeEmpty) {
  for (const char* name : {"none.onnx", "none.gguf"}) {
    std::ofstream(at(name)).close();
    EXPECT_NE(lacuna("inspect " + at(name)).err.find(std::string(name) + ": is empty (0 bytes)"), std::string::npos) << name;
  }
  std::filesystem::copy(kLlama, folder_ / "llama");
  for (const char* name : {"model.safetensors", "config.json"}) {
    std::ofstream(at(std::string("llama/") + name)).close();
    std::string message = lacuna("inspect " + at("llama")).err;
    EXPECT_NE(message.find(std::string(name) + ": is empty"), std::string::npos) << message;
  }
}

TEST_F(Program, ConvertSaysWhatBecameOfTheNodes) {
  const std::string resnet = (kData / "cifar10/resnet20.onnx").string();
  LACUNA_NEEDS(resnet);
  Result r = lacuna("convert " + resnet + " -o " + at("back.onnx") + " --json");
  ASSERT_EQ(r.status, 0) << r.err;
  auto report = r.json();
  EXPECT_EQ(report["nodes_before"], 111);
  EXPECT_EQ(report["opset_before"], 13);
  EXPECT_EQ(report["opset"], 17);
  std::string nodes = report["nodes"].dump();
  std::string words = lacuna("convert " + resnet + " -o " + at("again.onnx")).out;
  EXPECT_NE(words.find("111 nodes of opset 13 became " + nodes + " of opset 17"), std::string::npos) << words;
  EXPECT_EQ(lacuna("convert " + at("back.onnx") + " -o " + at("third.onnx") + " --json").json()["nodes_before"].dump(), nodes);
}

}  // namespace
}  // namespace lacuna::test
