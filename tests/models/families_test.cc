// Every family against transformers: shared/data/families holds seeded models with their logits or last hidden states.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "io/model.h"
#include "io/npy.h"
#include "runtime/sampler.h"
#include "runtime/session.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
const fs::path kFamilies = LACUNA_SOURCE_DIR "/../shared/data/families";

class Families : public ::testing::TestWithParam<std::tuple<std::string, Executor>> {
 protected:
  void SetUp() override {
    directory_ = kFamilies / std::get<0>(GetParam());
    if (!fs::exists(directory_)) GTEST_SKIP() << directory_ << " is missing";
    graph_ = read_huggingface(directory_);
  }
  Session session() const { return Session(graph_, {.executor = std::get<1>(GetParam())}); }
  // Inputs that the model has beyond the ids, at their defaults.
  TensorMap inputs(Tensor ids) const {
    TensorMap out;
    for (ValueId v : graph_->inputs()) {
      const std::string& name = graph_->value(v).name;
      if (name == "input_ids") continue;
      Tensor filled(DType::kS64, ids.shape());
      for (int64_t& x : filled.mutable_data<int64_t>()) x = std::stoll(graph_->metadata.at("default:" + name));
      out[name] = filled;
    }
    out["input_ids"] = std::move(ids);
    return out;
  }
  Tensor ids() const { return read_npy(directory_ / "input_ids.npy").to(DType::kS64); }
  Tensor first_output(const TensorMap& outputs) const { return outputs.at(graph_->outputs()[0].name); }

  fs::path directory_;
  std::shared_ptr<Graph> graph_;
};

TEST_P(Families, EqualsTransformers) {
  Tensor wanted = read_npy(directory_ / "expected.npy");
  EXPECT_LT(relative_error(first_output(session().run(inputs(ids()))), wanted), 1e-4);
}

TEST_P(Families, EqualsTransformersOnAPaddedBatch) {
  if (!fs::exists(directory_ / "expected_masked.npy")) GTEST_SKIP() << "a decoder";
  Tensor mask = read_npy(directory_ / "attention_mask.npy").to(DType::kS64), wanted = read_npy(directory_ / "expected_masked.npy").clone();
  TensorMap in = inputs(ids());
  in["attention_mask"] = mask;
  Tensor found = first_output(session().run(in)).clone();
  if (found.rank() == 3) {
    // What stands at padded positions means nothing.
    for (int64_t i = 0; i < mask.size(); i++) {
      if (mask.data<int64_t>()[size_t(i)]) continue;
      for (Tensor* t : {&found, &wanted}) std::fill_n(t->mutable_data<float>().begin() + i * t->dim(2), t->dim(2), 0.0f);
    }
  }
  EXPECT_LT(relative_error(found, wanted), 1e-4);
}

TEST_P(Families, WritesTheTokensOfTransformers) {
  if (!fs::exists(directory_ / "greedy.npy")) GTEST_SKIP() << "an encoder";
  Tensor greedy = read_npy(directory_ / "greedy.npy").to(DType::kS64);
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

std::string name_of_case(const ::testing::TestParamInfo<Families::ParamType>& info) {
  std::string name = std::get<0>(info.param) + (std::get<1>(info.param) == Executor::kReference ? "_reference" : "_runtime");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Families,
                         ::testing::Combine(::testing::Values("llama-gqa", "llama3-rope-bf16-sharded", "mistral-window", "qwen2", "qwen3", "gpt2",
                                                              "bert", "bert-mlm", "roberta-classify", "distilbert"),
                                            ::testing::Values(Executor::kReference, Executor::kRuntime)),
                         name_of_case);

}  // namespace
}  // namespace lacuna
