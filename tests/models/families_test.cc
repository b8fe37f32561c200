// Every family against transformers: shared/data/families and tests/fixtures/families (tools/fixtures/families.py) hold seeded models
// with their logits or last hidden states.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "io/lacuna_directory.h"
#include "io/model.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "io/testing.h"
#include "runtime/sampler.h"
#include "runtime/session.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
const fs::path kShared = LACUNA_SOURCE_DIR "/../shared/data/families", kFixtures = LACUNA_SOURCE_DIR "/tests/fixtures/families";

std::vector<fs::path> directories() {
  std::vector<fs::path> out;
  for (const char* name : {"llama-gqa", "llama3-rope-bf16-sharded", "mistral-window", "qwen2", "qwen3", "gpt2", "bert", "bert-mlm",
                           "roberta-classify", "distilbert", "opt", "gpt-neox", "phi3", "gemma2"})
    out.push_back(kShared / name);
  for (auto& entry : fs::directory_iterator(kFixtures)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

// Those of them that have recorded what a test compares with.
std::vector<fs::path> directories_with(const char* file) {
  std::vector<fs::path> out = directories();
  std::erase_if(out, [&](const fs::path& directory) { return !fs::exists(directory / file); });
  return out;
}

class Families : public ::testing::TestWithParam<std::tuple<fs::path, Executor>> {
 protected:
  void SetUp() override {
    directory_ = std::get<0>(GetParam());
    if (!fs::exists(directory_)) GTEST_SKIP() << directory_ << " is missing";
    graph_ = read_huggingface(directory_);
  }
  Session session() const { return Session(graph_, {.executor = std::get<1>(GetParam())}); }
  TensorMap inputs() const {
    TensorMap out;
    for (const char* name : {"input_ids", "token_type_ids"})
      if (fs::exists(directory_ / (std::string(name) + ".npy"))) out[name] = read(name);
    return out;
  }
  Tensor read(const std::string& name) const { return read_npy(directory_ / (name + ".npy")); }
  Tensor first_output(const TensorMap& outputs) const { return outputs.at(graph_->outputs()[0].name); }

  fs::path directory_;
  std::shared_ptr<Graph> graph_;
};

TEST_P(Families, EqualsTransformers) { EXPECT_LT(relative_error(first_output(session().run(inputs())), read("expected")), 1e-4); }

class PaddedBatches : public Families {};
TEST_P(PaddedBatches, EqualTransformers) {
  Tensor mask = read("attention_mask").to(DType::kS64), wanted = read("expected_masked").clone();
  TensorMap in = inputs();
  in["attention_mask"] = mask;
  TensorMap outputs = session().run(in);
  Tensor found = first_output(outputs).clone();
  if (found.rank() >= 2 && found.dim(1) == mask.dim(1)) {
    // What stands at padded positions means nothing.
    int64_t width = found.size() / mask.size();
    for (int64_t i = 0; i < mask.size(); i++) {
      if (mask.data<int64_t>()[size_t(i)]) continue;
      for (Tensor* t : {&found, &wanted}) std::fill_n(t->mutable_data<float>().begin() + i * width, width, 0.0f);
    }
  }
  EXPECT_LT(relative_error(found, wanted), 1e-4);
  if (fs::exists(directory_ / "expected_sentence.npy")) {
    EXPECT_LT(relative_error(outputs.at("sentence_embedding"), read("expected_sentence")), 1e-4);
  }
}

class Decoders : public Families {};
TEST_P(Decoders, WriteTheTokensOfTransformers) {
  Tensor greedy = read("greedy").to(DType::kS64);
  auto wanted = greedy.data<int64_t>();
  Session decoder = session();
  Sampler sampler(SamplerOptions{});
  std::vector<int64_t> tokens(wanted.begin(), wanted.begin() + 8), fresh = tokens;
  while (tokens.size() < wanted.size()) {
    Tensor logits = decoder.run({{"input_ids", Tensor::of<int64_t>({1, int64_t(fresh.size())}, fresh)}}).at("logits");
    int64_t vocab = logits.dim(2);
    tokens.push_back(sampler.next(logits.data<float>().last(size_t(vocab)), {}));
    fresh = {tokens.back()};
  }
  EXPECT_EQ(tokens, std::vector<int64_t>(wanted.begin(), wanted.end()));
}

// Names, shapes, bits and modules of sentence-transformers survive the way into a Lacuna directory and back.
TEST(FamilyDirectories, GoThroughALacunaDirectoryAndBack) {
  TemporaryDirectory dir;
  for (const char* name : {"gpt2-hub", "bert-mlm-untied", "sentence-mean-dense-normalize"}) {
    fs::path saved = dir / (std::string(name) + "-lacuna"), back = dir / name;
    save_lacuna(load_model(kFixtures / name), saved, false);
    Model model = load_model(saved);
    write_huggingface(*model.graph, saved, back);
    Tensor ids = read_npy(kFixtures / name / "input_ids.npy");
    TensorMap wanted = Session(load_model(kFixtures / name).graph).run({{"input_ids", ids}});
    for (auto& path : {saved, back})
      for (auto& [output, value] : Session(load_model(path).graph).run({{"input_ids", ids}}))
        EXPECT_EQ(absolute_error(value, wanted.at(output)), 0) << path;
    for (const char* file : {"model.safetensors", "2_Dense/model.safetensors"}) {
      if (!fs::exists(kFixtures / name / file)) continue;
      SafetensorsFile before(kFixtures / name / file), after(back / file);
      ASSERT_EQ(before.header().entries.size(), after.header().entries.size());
      for (auto& entry : before.header().entries) EXPECT_TRUE(after.find(entry.name)) << entry.name;
    }
  }
}

std::string name_of_case(const ::testing::TestParamInfo<Families::ParamType>& info) {
  auto& [directory, executor] = info.param;
  std::string name = (directory.parent_path() == kShared ? "shared_" : "") + directory.filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name + (executor == Executor::kReference ? "_reference" : "_runtime");
}

const auto kExecutors = ::testing::Values(Executor::kReference, Executor::kRuntime);
INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::Combine(::testing::ValuesIn(directories()), kExecutors), name_of_case);
INSTANTIATE_TEST_SUITE_P(All, PaddedBatches, ::testing::Combine(::testing::ValuesIn(directories_with("expected_masked.npy")), kExecutors),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(All, Decoders, ::testing::Combine(::testing::ValuesIn(directories_with("greedy.npy")), kExecutors), name_of_case);

}  // namespace
}  // namespace lacuna
