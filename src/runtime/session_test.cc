#include "runtime/session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <limits>

#include "base/cat.h"
#include "base/cpu.h"
#include "base/parallel.h"
#include "lacuna/error.h"
#include "runtime/testing.h"

namespace lacuna {
namespace {

using testing::add_weight;
using testing::random_ids;
using testing::random_tensor;

Attributes attributes(std::initializer_list<std::pair<std::string, Attribute>> list) {
  Attributes a;
  for (auto& [name, value] : list) a.set(name, value);
  return a;
}

using Integers = std::vector<int64_t>;

// Adds seeded nodes with weights.
struct Builder {
  Graph graph;
  Rng rng{7};
  int count = 0;

  ValueId weight(Shape shape, MatrixLayout layout, float scale) {
    return add_weight(graph, cat("w", count++), random_tensor(rng, std::move(shape), scale), layout);
  }
  ValueId vector(int64_t n, float scale = 0.3f) { return weight({n}, MatrixLayout::kNone, scale); }
  ValueId positive(int64_t n) {
    Tensor t = random_tensor(rng, {n}, 0.3f);
    for (float& v : t.mutable_data<float>()) v = 0.5f + std::abs(v);
    return add_weight(graph, cat("w", count++), t);
  }
  ValueId linear(ValueId x, int64_t in, int64_t out, bool bias = true) {
    std::vector<ValueId> inputs = {x, weight({out, in}, MatrixLayout::kOutIn, 1 / std::sqrt(float(in)))};
    if (bias) inputs.push_back(vector(out));
    return graph.add(Op::linear, inputs);
  }
  ValueId conv(ValueId x, int64_t in, int64_t out, int64_t k, int64_t stride = 1, int64_t groups = 1) {
    ValueId w = weight({out, in / groups, k, k}, MatrixLayout::kConv, 1 / std::sqrt(float(in / groups * k * k)));
    return graph.add(Op::conv, {x, w},
                     attributes({{"strides", Integers{stride, stride}}, {"pads", Integers{k / 2, k / 2, k / 2, k / 2}}, {"groups", groups}}));
  }
  ValueId batch_norm(ValueId x, int64_t c) { return graph.add(Op::batch_norm, {x, vector(c, 1), vector(c), vector(c), positive(c)}); }
};

TEST(Session, AVolumeKeepsTheActivationAndTheSumBehindItsConvolution) {
  Builder b;
  ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("batch"), 4, 3, 5, 5});
  ValueId w = b.weight({4, 4, 3, 3, 3}, MatrixLayout::kConv, 0.1f);
  ValueId y = b.graph.add(Op::conv, {x, w}, attributes({{"pads", Integers{1, 1, 1, 1, 1, 1}}}));
  b.graph.add_output("y", b.graph.add(Op::leaky_relu, {b.graph.add(Op::add, {y, x})}, attributes({{"alpha", 0.1}})));
  infer_shapes(b.graph);
  TensorMap inputs = {{"x", random_tensor(b.rng, {2, 4, 3, 5, 5}, 1)}};
  Tensor wanted = testing::run(b.graph, inputs, Executor::kReference).at("y");
  EXPECT_LE(relative_error(testing::run(b.graph, inputs, Executor::kRuntime).at("y"), wanted), 1e-6);
}

TEST(Session, ANaNReachesTheOutputThroughEveryActivation) {
  for (std::string activation : {"none", "relu", "clip"}) {
    Builder b;
    ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("batch"), 16, 8, 8});
    ValueId y = b.conv(x, 16, 32, 3);
    if (activation == "relu") y = b.graph.add(Op::relu, {y});
    if (activation == "clip") y = b.graph.add(Op::clip, {y}, attributes({{"min", 0.0}, {"max", 6.0}}));
    b.graph.add_output("y", y);
    infer_shapes(b.graph);
    Tensor input = random_tensor(b.rng, {1, 16, 8, 8});
    input.mutable_data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    Tensor found = testing::run(b.graph, {{"x", input}}, Executor::kRuntime).at("y");
    EXPECT_TRUE(std::isnan(found.data<float>()[0])) << activation;
  }
}

// Residual blocks, batch norm, depthwise convolution, pools, a concatenation, a classifier.
Graph small_cnn() {
  Builder b;
  ValueId x = b.graph.add_input("image", DType::kF32, {Dim::symbol("batch"), 3, 16, 16});
  x = b.graph.add(Op::relu, {b.batch_norm(b.conv(x, 3, 8, 3), 8)});
  x = b.graph.add(Op::max_pool, {x}, attributes({{"kernel_shape", Integers{3, 3}}, {"strides", Integers{2, 2}}, {"pads", Integers{1, 1, 1, 1}}}));
  ValueId y = b.graph.add(Op::clip, {b.batch_norm(b.conv(x, 8, 8, 3, 1, 8), 8)}, attributes({{"min", 0.0}, {"max", 6.0}}));
  y = b.batch_norm(b.conv(y, 8, 12, 1, 2), 12);
  ValueId shortcut = b.conv(x, 8, 12, 1, 2);
  x = b.graph.add(Op::relu, {b.graph.add(Op::add, {y, shortcut})});
  ValueId pooled = b.graph.add(Op::average_pool, {x}, attributes({{"kernel_shape", Integers{3, 3}}, {"pads", Integers{1, 1, 1, 1}}}));
  ValueId swish = b.graph.add(Op::hard_swish, {b.conv(x, 12, 6, 3)});
  x = b.graph.add(Op::concat, {pooled, swish}, attributes({{"axis", int64_t(1)}}));
  x = b.graph.add(Op::flatten, {b.graph.add(Op::global_average_pool, {x})});
  b.graph.add_output("logits", b.linear(x, 18, 10));
  infer_shapes(b.graph);
  return b.graph;
}

constexpr int64_t kWidth = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kVocab = 50;

// Two Llama blocks with caches: grouped queries, rope, gated feed-forward.
Graph small_llama() {
  Builder b;
  Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens");
  ValueId ids = b.graph.add_input("input_ids", DType::kS64, {batch, tokens});
  ValueId positions = b.graph.add(Op::positions, {ids});
  ValueId x = b.graph.add(Op::embedding, {ids, b.weight({kVocab, kWidth}, MatrixLayout::kOutIn, 1)});
  for (int layer = 0; layer < 2; layer++) {
    ValueId k_state = b.graph.add_state(cat("k", layer), DType::kF32, {batch, kKvHeads, Dim::symbol("capacity"), kHeadDim});
    ValueId v_state = b.graph.add_state(cat("v", layer), DType::kF32, {batch, kKvHeads, Dim::symbol("capacity"), kHeadDim});
    ValueId h = b.graph.add(Op::rms_norm, {x, b.vector(kWidth, 1)}, attributes({{"epsilon", 1e-5}}));
    auto rope = [&](ValueId v, int64_t heads) {
      return b.graph.add(Op::rope, {v, positions}, attributes({{"heads", heads}, {"head_dim", kHeadDim}, {"theta", 10000.0}}));
    };
    ValueId q = rope(b.linear(h, kWidth, kHeads * kHeadDim, false), kHeads), k = rope(b.linear(h, kWidth, kKvHeads * kHeadDim, false), kKvHeads);
    ValueId v = b.linear(h, kWidth, kKvHeads * kHeadDim, false);
    ValueId a = b.graph.add(
        Op::attention, {q, k, v, kNoValue, k_state, v_state},
        attributes({{"heads", kHeads}, {"kv_heads", kKvHeads}, {"head_dim", kHeadDim}, {"causal", int64_t(1)}, {"window", int64_t(layer ? 5 : 0)}}));
    x = b.graph.add(Op::add, {x, b.linear(a, kHeads * kHeadDim, kWidth, false)});
    h = b.graph.add(Op::rms_norm, {x, b.vector(kWidth, 1)}, attributes({{"epsilon", 1e-5}}));
    ValueId gate = b.graph.add(Op::silu, {b.linear(h, kWidth, 48, false)}), up = b.linear(h, kWidth, 48, false);
    x = b.graph.add(Op::add, {x, b.linear(b.graph.add(Op::mul, {gate, up}), 48, kWidth, false)});
  }
  x = b.graph.add(Op::rms_norm, {x, b.vector(kWidth, 1)}, attributes({{"epsilon", 1e-5}}));
  b.graph.add_output("logits", b.linear(x, kWidth, kVocab, false));
  infer_shapes(b.graph);
  return b.graph;
}

// A BERT block with a padding mask, mean pooled and normalised.
Graph small_bert() {
  Builder b;
  Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens");
  ValueId ids = b.graph.add_input("input_ids", DType::kS64, {batch, tokens});
  ValueId mask = b.graph.add_input("attention_mask", DType::kS64, {batch, tokens});
  b.graph.metadata["default:attention_mask"] = "1";
  auto embed = [&](ValueId v) { return b.graph.add(Op::embedding, {v, b.weight({kVocab, kWidth}, MatrixLayout::kOutIn, 1)}); };
  auto norm = [&](ValueId v) { return b.graph.add(Op::layer_norm, {v, b.vector(kWidth, 1), b.vector(kWidth)}, attributes({{"epsilon", 1e-12}})); };
  ValueId x = norm(b.graph.add(Op::add, {embed(ids), embed(b.graph.add(Op::positions, {ids}))}));
  ValueId a = b.graph.add(Op::attention, {b.linear(x, kWidth, kWidth), b.linear(x, kWidth, kWidth), b.linear(x, kWidth, kWidth), mask},
                          attributes({{"heads", kHeads}, {"head_dim", kHeadDim}}));
  x = norm(b.graph.add(Op::add, {b.linear(a, kWidth, kWidth), x}));
  ValueId h = b.graph.add(Op::gelu, {b.linear(x, kWidth, 64)});
  x = norm(b.graph.add(Op::add, {b.linear(h, 64, kWidth), x}));
  b.graph.add_output("hidden", x);
  b.graph.add_output("embedding", b.graph.add(Op::l2_norm, {b.graph.add(Op::token_pool, {x, mask})}));
  infer_shapes(b.graph);
  return b.graph;
}

void expect_equal_executors(const Graph& graph, const TensorMap& inputs) {
  TensorMap expected = testing::run(graph, inputs, Executor::kReference), found = testing::run(graph, inputs, Executor::kRuntime);
  for (auto& [name, tensor] : expected) EXPECT_LE(relative_error(found.at(name), tensor), 1e-5) << name;
}

TEST(Session, ExecutorsAgreeOnAConvolutionalNetwork) {
  Rng rng(1);
  Graph graph = small_cnn();
  for (int64_t batch : {1, 3}) expect_equal_executors(graph, {{"image", random_tensor(rng, {batch, 3, 16, 16})}});
}

TEST(Session, ExecutorsAgreeOnADecoder) {
  Rng rng(1);
  Graph graph = small_llama();
  for (int64_t tokens : {1, 2, 17, 40}) expect_equal_executors(graph, {{"input_ids", random_ids(rng, {2, tokens}, kVocab)}});
}

TEST(Session, ExecutorsAgreeOnAPaddedEncoder) {
  Rng rng(1);
  Tensor mask = testing::tensor<int64_t>({2, 5}, {1, 1, 1, 1, 1, 1, 1, 0, 0, 0});
  expect_equal_executors(small_bert(), {{"input_ids", random_ids(rng, {2, 5}, kVocab)}, {"attention_mask", mask}});
}

TEST(Session, AnInputWithADefaultMayBeLeftOut) {
  Rng rng(1);
  TensorMap given{{"input_ids", random_ids(rng, {2, 5}, kVocab)}}, whole = given;
  Tensor ones(DType::kS64, {2, 5});
  std::fill_n(ones.mutable_data<int64_t>().begin(), 10, 1);
  whole["attention_mask"] = ones;
  Graph graph = small_bert();
  EXPECT_EQ(relative_error(testing::run(graph, given, Executor::kRuntime).at("hidden"), testing::run(graph, whole, Executor::kRuntime).at("hidden")),
            0);
}

class SessionOn : public ::testing::TestWithParam<Executor> {};
INSTANTIATE_TEST_SUITE_P(Executors, SessionOn, ::testing::Values(Executor::kReference, Executor::kRuntime),
                         [](auto& info) { return info.param == Executor::kReference ? "reference" : "runtime"; });

Tensor columns(const Tensor& ids, int64_t first, int64_t count) {
  Tensor out(DType::kS64, {ids.dim(0), count});
  for (int64_t b = 0; b < ids.dim(0); b++)
    for (int64_t t = 0; t < count; t++) out.mutable_data<int64_t>()[size_t(b * count + t)] = ids.data<int64_t>()[size_t(b * ids.dim(1) + first + t)];
  return out;
}

Tensor last_rows(const Tensor& logits) {
  int64_t batch = logits.dim(0), tokens = logits.dim(1), width = logits.dim(2);
  Tensor out(DType::kF32, {batch, width});
  for (int64_t b = 0; b < batch; b++)
    std::copy_n(logits.data<float>().begin() + ((b + 1) * tokens - 1) * width, width, out.mutable_data<float>().begin() + b * width);
  return out;
}

TEST(Session, SlopesOfPreluMayBeOneOrOfChannelsOrOfElements) {
  for (const Shape& slope : {Shape{1}, Shape{6, 1, 1}, Shape{1, 6, 1, 1}, Shape{6, 5, 7}, Shape{7}, Shape{1, 1, 1, 1}}) {
    Rng rng(3);
    Graph graph;
    ValueId x = graph.add_input("x", DType::kF32, {2, 6, 5, 7});
    graph.add_output("y", graph.add(Op::prelu, {x, testing::add_weight(graph, "slope", testing::random_tensor(rng, slope))}));
    infer_shapes(graph);
    TensorMap inputs{{"x", testing::random_tensor(rng, {2, 6, 5, 7})}};
    EXPECT_EQ(relative_error(testing::run(graph, inputs, Executor::kRuntime).at("y"), testing::run(graph, inputs, Executor::kReference).at("y")), 0)
        << to_string(slope);
  }
}

TEST_P(SessionOn, DecodingTokenByTokenEqualsOnePass) {
  Rng rng(3);
  auto graph = std::make_shared<const Graph>(small_llama());
  Tensor ids = random_ids(rng, {2, 12}, kVocab);
  Session whole(graph, {.executor = GetParam()}), steps(graph, {.executor = GetParam()});
  Tensor expected = last_rows(whole.run({{"input_ids", ids}}).at("logits"));
  steps.run({{"input_ids", columns(ids, 0, 7)}});
  TensorMap last;
  for (int64_t t = 7; t < 12; t++) last = steps.run({{"input_ids", columns(ids, t, 1)}});
  EXPECT_EQ(steps.past_tokens(), 12);
  EXPECT_LE(relative_error(last_rows(last.at("logits")), expected), 1e-5);
}

TEST_P(SessionOn, PreparingChangesNoResultAndLeavesNothingToPack) {
  Rng rng(6);
  auto graph = std::make_shared<const Graph>(small_llama());
  TensorMap prompt = {{"input_ids", random_ids(rng, {1, 12}, kVocab)}}, token = {{"input_ids", random_ids(rng, {1, 1}, kVocab)}};
  Session prepared(graph, {.executor = GetParam()}), fresh(graph, {.executor = GetParam()});
  prepared.prepare(prompt);
  prepared.prepare(token);
  EXPECT_EQ(prepared.past_tokens(), 0);
  int64_t packed = prepared.packed_bytes();
  for (const TensorMap& inputs : {prompt, token}) EXPECT_EQ(absolute_error(prepared.run(inputs).at("logits"), fresh.run(inputs).at("logits")), 0);
  EXPECT_EQ(prepared.packed_bytes(), packed);
  EXPECT_EQ(fresh.packed_bytes(), packed);
  EXPECT_THROW(prepared.prepare({}), InvalidArgument);
}

TEST_P(SessionOn, TheLastTokenAloneHasTheSameLogits) {
  Rng rng(3);
  auto graph = std::make_shared<const Graph>(small_llama());
  Session whole(graph, {.executor = GetParam()}), last(graph, {.executor = GetParam(), .last_token_only = true});
  for (int64_t tokens : {7, 1, 4}) {
    Tensor ids = random_ids(rng, {2, tokens}, kVocab), logits = last.run({{"input_ids", ids}}).at("logits");
    EXPECT_EQ(logits.shape(), (Shape{2, 1, kVocab}));
    EXPECT_LE(relative_error(last_rows(logits), last_rows(whole.run({{"input_ids", ids}}).at("logits"))), 1e-6);
  }
}

TEST_P(SessionOn, TruncateAndResetForgetTokens) {
  Rng rng(3);
  Session session(std::make_shared<const Graph>(small_llama()), {.executor = GetParam()});
  Tensor ids = random_ids(rng, {1, 9}, kVocab), other = random_ids(rng, {1, 4}, kVocab);
  Tensor expected = last_rows(session.run({{"input_ids", ids}}).at("logits"));
  session.truncate(5);
  session.run({{"input_ids", other}});
  session.truncate(5);
  EXPECT_LE(relative_error(last_rows(session.run({{"input_ids", columns(ids, 5, 4)}}).at("logits")), expected), 1e-5);
  session.reset();
  EXPECT_EQ(session.past_tokens(), 0);
  EXPECT_LE(relative_error(last_rows(session.run({{"input_ids", ids}}).at("logits")), expected), 1e-5);
  EXPECT_THROW(session.truncate(10), InvalidArgument);
}

TEST_P(SessionOn, TheCacheGrowsAndKeepsItsTokens) {
  Rng rng(3);
  auto graph = std::make_shared<const Graph>(small_llama());
  Tensor ids = random_ids(rng, {1, 300}, kVocab);
  Session whole(graph, {.executor = GetParam()}), parts(graph, {.executor = GetParam()});
  Tensor expected = last_rows(whole.run({{"input_ids", ids}}).at("logits"));
  parts.run({{"input_ids", columns(ids, 0, 100)}});
  parts.run({{"input_ids", columns(ids, 100, 190)}});
  EXPECT_LE(relative_error(last_rows(parts.run({{"input_ids", columns(ids, 290, 10)}}).at("logits")), expected), 1e-5);
}

std::string message_of(Session& session, const TensorMap& inputs) {
  try {
    session.run(inputs);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST_P(SessionOn, ACacheOverflowNamesTheLimitAndChangesNothing) {
  Session session(std::make_shared<const Graph>(small_llama()), {.executor = GetParam(), .max_tokens = 8});
  Rng rng(3);
  session.run({{"input_ids", random_ids(rng, {1, 6}, kVocab)}});
  EXPECT_EQ(message_of(session, {{"input_ids", random_ids(rng, {1, 3}, kVocab)}}),
            "the cache holds at most 8 tokens per sequence, 6 past and 3 new ones need 9");
  EXPECT_THROW(session.run({{"input_ids", random_ids(rng, {1, 3}, kVocab)}}), ResourceExhausted);
  EXPECT_EQ(session.past_tokens(), 6);
  EXPECT_NO_THROW(session.run({{"input_ids", random_ids(rng, {1, 2}, kVocab)}}));
  EXPECT_EQ(message_of(session, {{"input_ids", random_ids(rng, {2, 1}, kVocab)}}),
            "the cache holds 1 sequences, this call has 2; reset the session first");
}

TEST_P(SessionOn, WrongInputsAreNamed) {
  Session session(std::make_shared<const Graph>(small_bert()), {.executor = GetParam()});
  Rng rng(3);
  Tensor ids = random_ids(rng, {2, 5}, kVocab);
  EXPECT_EQ(message_of(session, {}), "input 'input_ids' is missing, wanted [batch, tokens]");
  EXPECT_EQ(message_of(session, {{"input_ids", ids}, {"mask", ids}}),
            "input 'mask' is not an input of this model; it has: input_ids, attention_mask");
  EXPECT_EQ(message_of(session, {{"input_ids", random_ids(rng, {5}, kVocab)}}), "input 'input_ids' has shape [5], wanted [batch, tokens]");
  EXPECT_EQ(message_of(session, {{"input_ids", ids}, {"attention_mask", random_ids(rng, {2, 4}, 2)}}),
            "input 'attention_mask' has shape [2, 4], wanted [batch, tokens] with batch = 2, tokens = 5");
  EXPECT_EQ(message_of(session, {{"input_ids", random_tensor(rng, {2, 5})}}), "input 'input_ids' is f32, wanted s64");
  Session cnn(std::make_shared<const Graph>(small_cnn()), {.executor = GetParam()});
  EXPECT_EQ(message_of(cnn, {{"image", random_tensor(rng, {1, 3, 16, 15})}}),
            "input 'image' has shape [1, 3, 16, 15], wanted [batch, 3, 16, 16] with batch = 1");
}

TEST_P(SessionOn, IdsOutsideOfTheVocabularyAreNamed) {
  for (const Graph& graph : {small_bert(), small_llama()}) {
    Session session(std::make_shared<const Graph>(graph), {.executor = GetParam(), .max_tokens = graph.states().empty() ? 0 : 8});
    EXPECT_EQ(message_of(session, {{"input_ids", testing::tensor<int64_t>({2, 3}, {1, 2, 3, 4, -1, 5})}}),
              "input 'input_ids' holds the id -1 at position [1, 1], wanted 0 to 49 (a vocabulary of 50)");
    EXPECT_EQ(message_of(session, {{"input_ids", testing::tensor<int64_t>({1, 2}, {0, 50})}}),
              "input 'input_ids' holds the id 50 at position [0, 1], wanted 0 to 49 (a vocabulary of 50)");
    EXPECT_NO_THROW(session.run({{"input_ids", testing::tensor<int64_t>({1, 2}, {0, 49})}}));
  }
}

TEST_P(SessionOn, MoreTokensThanPositionsAreCounted) {
  Rng rng(1);
  Session bert(std::make_shared<const Graph>(small_bert()), {.executor = GetParam()});  // a table of kVocab rows holds the positions as well
  EXPECT_EQ(message_of(bert, {{"input_ids", random_ids(rng, {2, kVocab + 1}, kVocab)}}),
            "input 'input_ids' [2, 51] holds 51 tokens; the model takes at most 50 positions");
  EXPECT_NO_THROW(bert.run({{"input_ids", random_ids(rng, {2, kVocab}, kVocab)}}));
}

// Tokens with the padding id take no position of their own: those of RoBERTa begin behind it.
TEST_P(SessionOn, PaddingTakesNoPosition) {
  Builder b;
  ValueId ids = b.graph.add_input("input_ids", DType::kS64, {Dim::symbol("batch"), Dim::symbol("tokens")});
  ValueId positions = b.graph.add(Op::positions, {ids}, attributes({{"padding_id", int64_t(1)}}));
  b.graph.add_output("y", b.graph.add(Op::embedding, {positions, b.weight({5, 4}, MatrixLayout::kOutIn, 1)}));
  infer_shapes(b.graph);
  Session session(std::make_shared<const Graph>(b.graph), {.executor = GetParam()});
  EXPECT_NO_THROW(session.run({{"input_ids", testing::tensor<int64_t>({2, 4}, {7, 7, 7, 1, 7, 1, 1, 1})}}));
  EXPECT_EQ(message_of(session, {{"input_ids", testing::tensor<int64_t>({1, 5}, {7, 7, 7, 7, 1})}}),
            "input 'input_ids' [1, 5] holds 4 tokens; the model takes at most 3 positions");
}

TEST(Session, ResultsDoNotDependOnTheThreadCount) {
  Rng rng(5);
  Graph cnn = small_cnn(), llama = small_llama(), bert = small_bert();
  Tensor image = random_tensor(rng, {2, 3, 16, 16}), ids = random_ids(rng, {2, 33}, kVocab);
  auto all = [&] {
    return std::vector<Tensor>{testing::run(cnn, {{"image", image}}, Executor::kRuntime).at("logits"),
                               testing::run(llama, {{"input_ids", ids}}, Executor::kRuntime).at("logits"),
                               testing::run(bert, {{"input_ids", ids}}, Executor::kRuntime).at("hidden")};
  };
  int before = thread_count();
  set_thread_count(1);
  std::vector<Tensor> expected = all();
  for (int threads : {2, 3}) {
    set_thread_count(threads);
    std::vector<Tensor> found = all();
    for (size_t i = 0; i < found.size(); i++) EXPECT_EQ(absolute_error(found[i], expected[i]), 0) << i << " with " << threads << " threads";
  }
  set_thread_count(before);
}

TEST_P(SessionOn, ResultsStayWhatTheyAreWhenTheSessionRunsAgain) {
  Rng rng(5);
  Session session(std::make_shared<const Graph>(small_cnn()), {.executor = GetParam()});
  Tensor first = session.run({{"image", random_tensor(rng, {1, 3, 16, 16})}}).at("logits"), copy = first.clone();
  session.run({{"image", random_tensor(rng, {1, 3, 16, 16})}});
  EXPECT_EQ(absolute_error(first, copy), 0);
}

TEST(Session, AnObserverSeesEveryNodeInOrderOnBothExecutors) {
  Rng rng(5);
  auto graph = std::make_shared<const Graph>(small_cnn());
  Tensor image = random_tensor(rng, {1, 3, 16, 16});
  auto observed = [&](Executor executor) {
    Session session(graph, {.executor = executor});
    std::vector<std::pair<std::string, Tensor>> seen;
    session.set_observer(
        [&](const Node& node, std::span<const Tensor>, std::span<const Tensor> outputs) { seen.emplace_back(node.name, outputs[0].clone()); });
    session.run({{"image", image}});
    return seen;
  };
  auto expected = observed(Executor::kReference), found = observed(Executor::kRuntime);
  ASSERT_EQ(expected.size(), graph->nodes().size());
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); i++) {
    EXPECT_EQ(found[i].first, expected[i].first);
    EXPECT_LE(relative_error(found[i].second, expected[i].second), 1e-5) << found[i].first;
  }
}

TEST(Session, PlanProfileAndSizesAreReported) {
  Rng rng(5);
  Session session(std::make_shared<const Graph>(small_cnn()));
  session.enable_profile(true);
  session.run({{"image", random_tensor(rng, {1, 3, 16, 16})}});
  EXPECT_EQ(session.plan().size(), 6u);  // five convolutions and the classifier
  EXPECT_GT(session.packed_bytes(), 0);
  // The result of the first convolution (16 channels with padding) and what max_pool makes of it are all that lives at once.
  EXPECT_LE(session.arena_bytes(), 16 * 16 * 16 * 4 + 16 * 8 * 8 * 4 + 64);
  // Batch norms, activations and the residual addition are part of the convolutions.
  for (auto& line : session.profile())
    EXPECT_TRUE(line.op != "batch_norm" && line.op != "relu" && line.op != "add" && line.op != "clip" && line.op != "hard_swish") << line.op;
}

TEST(Session, SparseWeightsTakeSparseKernelsAndGiveTheSameResult) {
  Rng rng(5);
  Builder b;
  ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("n"), 256});
  Tensor w = random_tensor(rng, {256, 256});
  for (float& v : w.mutable_data<float>())
    if (rng.uniform() < 0.9) v = 0;
  b.graph.add_output("y", b.graph.add(Op::linear, {x, add_weight(b.graph, "w", w, MatrixLayout::kOutIn)}));
  infer_shapes(b.graph);
  auto graph = std::make_shared<const Graph>(b.graph);
  TensorMap inputs{{"x", random_tensor(rng, {64, 256})}};
  Session dense(graph, {.allow_sparse = false}), sparse(graph);
  EXPECT_LE(relative_error(sparse.run(inputs).at("y"), dense.run(inputs).at("y")), 1e-5);
  EXPECT_FALSE(dense.plan()[0].sparse);
  EXPECT_EQ(sparse.plan()[0].sparse, cpu_features().avx2) << sparse.plan()[0].reason;
}

// A weight of s8 or u4 codes, half of them masked if asked for, with scales per group of 32 columns, and its values.
Weight coded_weight(Rng& rng, DType type, int64_t rows, int64_t cols, bool minima, bool masked) {
  constexpr int64_t kGroup = 32;
  WeightData data{.values = Tensor(type, {rows, cols}), .scales = Tensor(DType::kF32, {rows, cols / kGroup})};
  for (size_t i = 0; i < data.values.size_bytes(); i++)
    data.values.mutable_raw()[i] = std::byte(type == DType::kS8 ? rng.below(255) - 127 : rng.below(256));
  for (float& s : data.scales.mutable_data<float>()) s = float(0.01 + 0.01 * rng.uniform());
  if (minima) data.minima = random_tensor(rng, {rows, cols / kGroup}, 0.1f);
  if (masked) {
    data.mask = Mask(rows, cols, true);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < cols; c++) {
        if (rng.below(2)) continue;
        data.mask->set(r, c, false);
        int64_t i = r * cols + c;
        if (type == DType::kS8)
          data.values.mutable_raw()[i] = std::byte(0);
        else
          data.values.mutable_raw()[i / 2] &= std::byte(i % 2 ? 0x0f : 0xf0);
      }
  }
  Encoding encoding{.values = type, .granularity = Encoding::Granularity::kGroup, .group = kGroup, .has_minima = minima};
  return {.name = "w", .shape = {rows, cols}, .layout = MatrixLayout::kOutIn, .encoding = encoding, .source = in_memory(data)};
}

TEST(Session, IntegerArithmeticUsesTheStoredCodes) {
  Rng rng(5);
  struct Kind {
    DType type;
    bool minima, masked;
  };
  for (Kind kind : {Kind{DType::kS8, false, false}, Kind{DType::kS8, false, true}, Kind{DType::kU4, true, false}, Kind{DType::kU4, true, true}})
    for (int64_t tokens : {3, 40}) {
      Builder b;
      ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("n"), 128});
      b.graph.add_output(
          "y",
          b.graph.add(Op::linear, {x, b.graph.add_weight(b.graph.weights.add(coded_weight(rng, kind.type, 48, 128, kind.minima, kind.masked)))}));
      infer_shapes(b.graph);
      Session integers(std::make_shared<const Graph>(b.graph), {.compute = DType::kS8});
      TensorMap inputs{{"x", random_tensor(rng, {tokens, 128})}};
      // Only the activations are rounded, to 1/254 of the largest of a token at worst.
      EXPECT_LE(relative_error(integers.run(inputs).at("y"), testing::run(b.graph, inputs, Executor::kReference).at("y")), 0.02)
          << name_of(kind.type) << (kind.masked ? " masked " : " ") << tokens << " " << integers.plan()[0].kernel;
    }
}

TEST(Session, MeasuredPlansAreKeptInTheCacheDirectory) {
  auto directory = std::filesystem::temp_directory_path() / cat("lacuna-plan-", getpid());
  setenv("XDG_CACHE_HOME", directory.c_str(), 1);
  Rng rng(5);
  Builder b;
  ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("n"), 64});
  b.graph.add_output("y", b.linear(x, 64, 48));
  infer_shapes(b.graph);
  // Whole: the ways to run a batch would be measured, and kept, even where there is one kernel only.
  Session measured(std::make_shared<const Graph>(b.graph), {.measured_plan = true, .split_batches = false});
  TensorMap inputs{{"x", random_tensor(rng, {32, 64})}};
  EXPECT_LE(relative_error(measured.run(inputs).at("y"), testing::run(b.graph, inputs, Executor::kReference).at("y")), 1e-5);
  EXPECT_FALSE(measured.plan()[0].reason.empty());
  EXPECT_EQ(std::filesystem::exists(directory / "lacuna"), cpu_features().avx2);
  std::filesystem::remove_all(directory);
}

TEST(Session, ADataDependentShapeIsFollowed) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {Dim::symbol("n")});
  ValueId found = graph.add(Op::transpose, {graph.add(Op::non_zero, {x})});
  graph.add_output("positions", found);
  graph.add_output("doubled", graph.add(Op::add, {found, found}));
  infer_shapes(graph);
  Tensor values = testing::tensor<float>({5}, {0, 2, 0, 3, 4});
  for (Executor executor : {Executor::kReference, Executor::kRuntime}) {
    TensorMap out = testing::run(graph, {{"x", values}}, executor);
    EXPECT_EQ(absolute_error(out.at("positions"), testing::tensor<int64_t>({3, 1}, {1, 3, 4})), 0);
    EXPECT_EQ(absolute_error(out.at("doubled"), testing::tensor<int64_t>({3, 1}, {2, 6, 8})), 0);
  }
}

// Rows chosen by the data go through a residual block: what would be fused into its products runs as the reference.
TEST(Session, ProductsOfADataDependentShapeKeepTheirActivationsAndResiduals) {
  Builder b;
  ValueId x = b.graph.add_input("x", DType::kF32, {Dim::symbol("n"), 8});
  ValueId sums = b.graph.add(Op::reduce_sum, {x}, attributes({{"axes", Integers{1}}, {"keepdims", int64_t(0)}}));
  ValueId rows = b.graph.add(Op::flatten, {b.graph.add(Op::transpose, {b.graph.add(Op::non_zero, {b.graph.add(Op::relu, {sums})})})});
  ValueId chosen = b.graph.add(Op::gather, {x, b.graph.add(Op::squeeze, {rows}, attributes({{"axes", Integers{1}}}))});
  ValueId h = b.graph.add(Op::relu, {b.linear(chosen, 8, 16)});
  b.graph.add_output("y", b.graph.add(Op::relu, {b.graph.add(Op::add, {b.linear(h, 16, 8), chosen})}));
  infer_shapes(b.graph);
  expect_equal_executors(b.graph, {{"x", random_tensor(b.rng, {9, 8})}});
}

// A model of its own may call a size "past", as decoders with caches do.
TEST(Session, PastIsASizeLikeAnyOtherWithoutStates) {
  Builder b;
  ValueId keys = b.graph.add_input("keys", DType::kF32, {Dim::symbol("past"), 8});
  b.graph.add_output("y", b.graph.add(Op::relu, {b.linear(keys, 8, 16)}));
  infer_shapes(b.graph);
  auto graph = std::make_shared<Graph>(b.graph);
  Session session(graph, {});
  session.run({{"keys", random_tensor(b.rng, {5, 8})}});
  ASSERT_EQ(session.plan().size(), 1u);  // planned, as sizes are known
  EXPECT_EQ(session.run({{"keys", random_tensor(b.rng, {7, 8})}}).at("y").shape(), (Shape{7, 16}));
}

TEST_P(SessionOn, AnInputMayBeAResult) {
  Graph graph;
  ValueId x = graph.add_input("x", DType::kF32, {2, 3});
  ValueId flat = graph.add(Op::flatten, {graph.add(Op::relu, {x})}, attributes({{"axis", int64_t(0)}}));
  graph.add_output("x", x);
  graph.add_output("flat", flat);
  graph.add_output("again", graph.add(Op::relu, {flat}));
  infer_shapes(graph);
  Tensor values = testing::tensor<float>({2, 3}, {-1, 2, -3, 4, -5, 6});
  TensorMap out = testing::run(graph, {{"x", values}}, GetParam());
  EXPECT_EQ(absolute_error(out.at("x"), values), 0);
  EXPECT_EQ(absolute_error(out.at("flat"), testing::tensor<float>({1, 6}, {0, 2, 0, 4, 0, 6})), 0);
  EXPECT_EQ(absolute_error(out.at("again"), testing::tensor<float>({1, 6}, {0, 2, 0, 4, 0, 6})), 0);
}

}  // namespace
}  // namespace lacuna
