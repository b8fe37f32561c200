// Shape rules one by one: hand-computed results of one node each, with symbols where they matter.
#include <gtest/gtest.h>

#include "base/cat.h"
#include "graph/testing.h"

namespace lacuna {
namespace {

using namespace testing;

struct Case {
  Op op;
  std::vector<std::string> shapes;  // of the inputs: "b,3,h,32"; "=1,-1" a constant vector; "#5" a constant scalar; "" absent; "int:..." s64
  Attributes attributes;
  std::string expected;  // shapes of the outputs, or a part of the message
};

SymShape shape_of_text(const std::string& text) {
  SymShape out;
  for (size_t at = 0; at < text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    out.push_back(Dim::parse(text.substr(at, comma - at)));
    at = comma + 1;
  }
  return out;
}

std::string result(const Case& c) {
  Graph g;
  std::vector<ValueId> inputs;
  for (auto& text : c.shapes) {
    std::string name = cat("in", inputs.size());
    if (text.empty()) {
      inputs.push_back(kNoValue);
    } else if (text[0] == '=') {
      std::vector<int64_t> values;
      for (size_t at = 1; at < text.size(); at = std::min(text.find(',', at), text.size()) + 1) values.push_back(std::stoll(text.substr(at)));
      inputs.push_back(vector_of(g, name, values));
    } else if (text[0] == '#') {
      inputs.push_back(scalar(g, name, std::stoll(text.substr(1))));
    } else if (text.starts_with("float:")) {
      std::vector<float> values;
      for (size_t at = 6; at < text.size(); at = std::min(text.find(',', at), text.size()) + 1) values.push_back(std::stof(text.substr(at)));
      inputs.push_back(g.add_weight(add_tensor(g, name, {int64_t(values.size())}, values)));
    } else if (text.starts_with("int:")) {
      inputs.push_back(g.add_input(name, DType::kS64, shape_of_text(text.substr(4))));
    } else {
      inputs.push_back(g.add_input(name, DType::kF32, shape_of_text(text)));
    }
  }
  size_t outputs =
      size_t(std::max(1, c.expected.starts_with("[") ? int(std::count(c.expected.begin(), c.expected.end(), '[')) : schema_of(c.op).min_outputs));
  NodeId node = g.add_node(c.op, inputs, outputs, c.attributes, "it");
  std::string out;
  std::string message = message_of([&] {
    verify(g);
    for (ValueId v : g.node(node).outputs) out += (out.empty() ? "" : " ") + shape_text(g, v);
  });
  return message.empty() ? out : message;
}

void check(const std::vector<Case>& cases) {
  for (auto& c : cases) {
    std::string found = result(c), line = cat(name_of(c.op), " of ", join(c.shapes, " and "));
    if (c.expected.starts_with("[") || c.expected == "?")
      EXPECT_EQ(found, c.expected) << line;
    else
      EXPECT_NE(found.find(c.expected), std::string::npos) << line << ": " << found;
  }
}

Attributes with(const char* name, Attribute value) { return attributes({{name, std::move(value)}}); }
Attribute text(const char* value) { return std::string(value); }
Attribute one(int64_t value) { return value; }

TEST(InferOps, Products) {
  check({
      {Op::matmul, {"b,4,t,8", "b,4,8,s"}, {}, "[b, 4, t, s]"},
      {Op::matmul, {"t,8", "b,4,8,s"}, {}, "[b, 4, t, s]"},
      {Op::matmul, {"8", "b,8,s"}, {}, "[b, s]"},
      {Op::matmul, {"b,t,8", "8"}, {}, "[b, t]"},
      {Op::matmul, {"8", "8"}, {}, "[]"},
      {Op::matmul, {"b,8,t", "b,s,8"}, attributes({{"transpose_a", one(1)}, {"transpose_b", one(1)}}), "[b, t, s]"},
      {Op::matmul, {"b,4,8", "b,9,5"}, {}, "inner dimensions differ: 8 and 9"},
      {Op::matmul, {"2,4,8", "3,8,5"}, {}, "do not broadcast"},
      {Op::einsum, {"b,h,t,d", "b,h,s,d"}, with("equation", text("bhtd,bhsd->bhts")), "[b, h, t, s]"},
      {Op::einsum, {"b,3,4", "b,4,5"}, with("equation", text("...ij,...jk")), "[b, 3, 5]"},
      {Op::einsum, {"3,3"}, with("equation", text("ii")), "[]"},
      {Op::einsum, {"3,4"}, with("equation", text("ij->ijk")), "cannot be read"},
      {Op::einsum, {"3,4"}, with("equation", text("i,j")), "has 2 operands, the node has 1"},
      {Op::embedding, {"int:b,t", "100,64"}, {}, "[b, t, 64]"},
      {Op::embedding, {"b,t", "100,64"}, {}, "wanted integers"},
      {Op::linear, {"b,t,64", "10,64", "10"}, {}, "[b, t, 10]"},
      {Op::linear, {"b,t,64", "64,10", "10"}, with("transposed", one(1)), "[b, t, 10]"},
      {Op::linear, {"b,t,64", "10,64", "11"}, {}, "length of the bias"},
  });
}

TEST(InferOps, ConvolutionsAndPools) {
  Attributes padded = attributes({{"pads", integers({1, 1, 1, 1})}, {"strides", integers({2, 2})}});
  Attributes pool = attributes({{"kernel_shape", integers({3, 3})}, {"strides", integers({2, 2})}});
  Attributes up = pool;
  up.set("ceil_mode", one(1));
  check({
      {Op::conv, {"n,3,224,224", "64,3,7,7"}, attributes({{"pads", integers({3, 3, 3, 3})}, {"strides", integers({2, 2})}}), "[n, 64, 112, 112]"},
      {Op::conv, {"n,3,h,w", "8,3,3,3"}, padded, "[n, 8, floor_div(h + 1, 2), floor_div(w + 1, 2)]"},
      {Op::conv, {"n,4,50", "8,4,3"}, with("dilations", integers({4})), "[n, 8, 42]"},
      {Op::conv, {"n,4,5,5,5", "8,4,3,3,3"}, {}, "[n, 8, 3, 3, 3]"},
      {Op::conv, {"n,3,15,15", "8,3,3,3"}, attributes({{"auto_pad", text("SAME_UPPER")}, {"strides", integers({2, 2})}}), "[n, 8, 8, 8]"},
      {Op::conv, {"n,4,9,9", "8,3,3,3"}, {}, "channels of the input"},
      {Op::conv, {"n,3,2,9", "8,3,3,3"}, {}, "does not fit a size of 2"},
      {Op::conv, {"n,3,9,9", "8,3,3,3"}, with("strides", integers({0, 1})), "'strides' holds 0"},
      {Op::conv, {"n,3,9,9", "8,3,3,3"}, with("pads", integers({1, 1})), "has 2 entries, wanted 4"},
      {Op::conv, {"n,3,9,9", "8,3,3,3"}, with("auto_pad", text("SAME")), "known are NOTSET"},
      {Op::conv_transpose, {"1,1,3,3", "1,2,3,3"}, {}, "[1, 2, 5, 5]"},
      {Op::conv_transpose,
       {"1,1,3,3", "1,2,3,3"},
       attributes({{"strides", integers({3, 2})}, {"output_padding", integers({1, 1})}}),
       "[1, 2, 10, 8]"},
      {Op::conv_transpose, {"1,1,3,3", "1,2,3,3"}, attributes({{"strides", integers({3, 2})}, {"pads", integers({1, 2, 1, 2})}}), "[1, 2, 7, 3]"},
      {Op::max_pool, {"n,8,32,h"}, pool, "[n, 8, 15, floor_div(h + 1, 2) - 1]"},
      {Op::max_pool, {"1,1,4,4"}, up, "[1, 1, 2, 2]"},
      {Op::max_pool,
       {"1,1,2,2"},
       attributes({{"kernel_shape", integers({1, 1})}, {"strides", integers({2, 2})}, {"ceil_mode", one(1)}}),
       "[1, 1, 1, 1]"},
      {Op::max_pool, {"1,8,32,32"}, pool, "[1, 8, 15, 15] [1, 8, 15, 15]"},
      {Op::average_pool, {"1,8,32,32"}, {}, "'kernel_shape' is missing"},
      {Op::global_average_pool, {"n,8,h,w"}, {}, "[n, 8, 1, 1]"},
      {Op::resize, {"n,3,h,10", "", "float:1,1,2,1.5"}, {}, "[n, 3, 2*h, 15]"},
      {Op::resize, {"n,3,h,10", "", "float:1,1,0.5,0.7"}, {}, "[n, 3, floor_div(h, 2), 7]"},
      {Op::resize, {"n,3,h,10", "", "", "=7,8"}, with("axes", integers({2, 3})), "[n, 3, 7, 8]"},
      {Op::resize,
       {"1,1,2,4", "", "", "=7,8"},
       attributes({{"axes", integers({2, 3})}, {"keep_aspect_ratio_policy", text("not_larger")}}),
       "[1, 1, 4, 8]"},
      {Op::resize, {"n,3,h,10"}, {}, "neither scales nor sizes"},
      {Op::depth_to_space, {"n,8,h,3"}, with("blocksize", one(2)), "[n, 2, 2*h, 6]"},
      {Op::space_to_depth, {"n,2,4,6"}, with("blocksize", one(2)), "[n, 8, 2, 3]"},
      {Op::grid_sample, {"n,3,10,10", "n,h,w,2"}, {}, "[n, 3, h, w]"},
  });
}

TEST(InferOps, Reductions) {
  check({
      {Op::reduce_mean, {"b,t,64"}, with("axes", integers({-1})), "[b, t, 1]"},
      {Op::reduce_sum, {"b,t,64", "=0,2"}, with("keepdims", one(0)), "[t]"},
      {Op::reduce_max, {"b,t,64"}, {}, "[1, 1, 1]"},
      {Op::reduce_max, {"b,t,64"}, with("keepdims", one(0)), "[]"},
      {Op::reduce_max, {"b,t,64"}, with("noop_with_empty_axes", one(1)), "[b, t, 64]"},
      {Op::reduce_max, {"b,t,64", "int:1"}, with("keepdims", one(0)), "?"},
      {Op::reduce_max, {"b,t,64"}, with("axes", integers({3})), "axis 3 is outside"},
      {Op::reduce_max, {"b,t,64"}, with("axes", integers({1, -2})), "axis 1 is named twice"},
      {Op::arg_max, {"b,t,64"}, attributes({{"axis", one(-1)}, {"keepdims", one(0)}}), "[b, t]"},
      {Op::top_k, {"b,100", "=5"}, {}, "[b, 5] [b, 5]"},
      {Op::top_k, {"b,3", "=5"}, {}, "k = 5 is more than the 3"},
      {Op::cum_sum, {"b,t", "#1"}, {}, "[b, t]"},
  });
}

TEST(InferOps, Movement) {
  check({
      {Op::reshape, {"b,t,384", "=0,0,12,-1"}, {}, "[b, t, 12, 32]"},
      {Op::reshape, {"b,t,384", "=-1,384"}, {}, "[b*t, 384]"},
      {Op::reshape, {"2,3,4", "=4,-1,2"}, {}, "[4, 3, 2]"},
      {Op::reshape, {"2,3,4", "=5,-1"}, {}, "an input [2, 3, 4] cannot become [5, -1]"},
      {Op::reshape, {"2,3,4", "=5,5"}, {}, "cannot become"},
      {Op::reshape, {"2,3,4", "=-1,-1"}, {}, "two entries of -1"},
      {Op::reshape, {"2,3,4", "=-2,12"}, {}, "a size of -2"},
      {Op::reshape, {"0,3", "=0,4"}, with("allowzero", one(1)), "[0, 4]"},
      {Op::reshape, {"b,3", "int:2"}, {}, "[?2.0, ?2.1]"},
      {Op::reshape, {"b,3", "int:n"}, {}, "?"},
      {Op::flatten, {"n,8,4,4"}, {}, "[n, 128]"},
      {Op::flatten, {"n,8,4,4"}, with("axis", one(0)), "[1, 128*n]"},
      {Op::transpose, {"b,t,8"}, with("perm", integers({0, 2, 1})), "[b, 8, t]"},
      {Op::transpose, {"b,t,8"}, {}, "[8, t, b]"},
      {Op::transpose, {"b,t,8"}, with("perm", integers({0, 1, 1})), "no permutation"},
      {Op::squeeze, {"b,1,8,1"}, with("axes", integers({1, -1})), "[b, 8]"},
      {Op::squeeze, {"3,1,8,1"}, {}, "[3, 8]"},
      {Op::squeeze, {"b,1"}, {}, "?"},
      {Op::squeeze, {"b,8"}, with("axes", integers({1})), "axis 1 of [b, 8] is not 1"},
      {Op::unsqueeze, {"b,8"}, with("axes", integers({0, -1})), "[1, b, 8, 1]"},
      {Op::unsqueeze, {"b,8"}, {}, "axes are missing"},
      {Op::concat, {"b,t,8", "b,1,8", "b,3,8"}, with("axis", one(1)), "[b, t + 4, 8]"},
      {Op::concat, {"b,t,8", "b,1,9"}, with("axis", one(1)), "sizes of axis 2 of inputs 0 and 1 differ: 8 and 9"},
      {Op::split, {"b,10"}, with("axis", one(1)), "[b, 4] [b, 4] [b, 2]"},
      {Op::split, {"b,10", "=3,7"}, with("axis", one(-1)), "[b, 3] [b, 7]"},
      {Op::split, {"b,10", "=3,6"}, with("axis", one(1)), "split has 2 parts, the node has 1"},
      {Op::slice, {"b,t,64", "=0", "=1", "=1"}, {}, "[b, min(t, 1), 64]"},
      {Op::slice, {"b,10", "=-3", "=9223372036854775807", "=1"}, {}, "[b, 3]"},
      {Op::slice, {"b,10", "=8", "=-9223372036854775807", "=1", "=-2"}, {}, "[b, 5]"},
      {Op::slice, {"b,10", "=3", "=-2", "=-1"}, {}, "[b, 5]"},
      {Op::slice, {"b,10", "=7", "=3", "=1"}, {}, "[b, 0]"},
      {Op::slice, {"b,10", "int:1", "=3", "=1"}, {}, "[b, ?4.1]"},
      {Op::slice, {"b,10", "=1", "=3", "=1", "=0"}, {}, "a step of 0"},
      {Op::expand, {"b,1,8", "=4,1,5,1"}, {}, "[4, b, 5, 8]"},
      {Op::tile, {"b,3", "=2,4"}, {}, "[2*b, 12]"},
      {Op::pad, {"b,8,h", "=0,0,1,0,0,2"}, {}, "[b, 8, h + 3]"},
      {Op::pad, {"b,8,h", "=-1,-1", "", "=1"}, {}, "[b, 6, h]"},
      {Op::pad, {"b,8,h", "=1,1"}, {}, "pads has 2 entries, wanted 6"},
      {Op::constant_of_shape, {"=2,3"}, {}, "[2, 3]"},
      {Op::range, {"#0", "#10", "#3"}, {}, "[4]"},
      {Op::range, {"#10", "#0", "#-4"}, {}, "[3]"},
      {Op::range, {"#0", "#-5", "#1"}, {}, "[0]"},
      {Op::range, {"float:0", "float:1", "float:0.25"}, {}, "[4]"},
      {Op::range, {"#0", "#10", "#0"}, {}, "delta is 0"},
      {Op::trilu, {"t,t"}, {}, "[t, t]"},
  });
}

TEST(InferOps, GatheringQuantizingAndRecurrence) {
  Attributes both = attributes({{"direction", text("bidirectional")}, {"hidden_size", one(4)}});
  Attributes batch_first = attributes({{"layout", one(1)}, {"hidden_size", one(4)}});
  check({
      {Op::gather, {"10,b,8", "int:n,2"}, with("axis", one(1)), "[10, n, 2, 8]"},
      {Op::gather, {"10,8", "#-1"}, {}, "[8]"},
      {Op::gather, {"10,8", "#10"}, {}, "index 10 is outside of axis 0"},
      {Op::gather, {"10,8", "3"}, {}, "wanted integers"},
      {Op::gather_elements, {"10,8", "int:3,8"}, {}, "[3, 8]"},
      {Op::gather_nd, {"2,3,4", "int:b,2"}, {}, "[b, 4]"},
      {Op::gather_nd, {"b,3,4", "int:b,1"}, with("batch_dims", one(1)), "[b, 4]"},
      {Op::scatter_nd, {"8,4", "int:2,1", "2,4"}, {}, "[8, 4]"},
      {Op::one_hot, {"int:b,t", "#10", "2"}, {}, "[b, t, 10]"},
      {Op::one_hot, {"int:b,t", "#10", "2"}, with("axis", one(0)), "[10, b, t]"},
      {Op::non_zero, {"b,t"}, {}, "[2, ?1.1]"},
      {Op::non_max_suppression, {"n,100,4", "n,80,100"}, {}, "[?2.0, 3]"},
      {Op::quantize, {"b,8", "8"}, with("axis", one(1)), "[b, 8]"},
      {Op::quantize, {"b,8", "7"}, with("axis", one(1)), "number of scales"},
      {Op::dynamic_quantize, {"b,8"}, {}, "[b, 8] [] []"},
      {Op::lstm, {"t,b,8", "2,16,8", "2,16,4"}, both, "[t, 2, b, 4] [2, b, 4] [2, b, 4]"},
      {Op::gru, {"b,t,8", "1,12,8", "1,12,4"}, batch_first, "[b, t, 1, 4] [b, 1, 4]"},
      {Op::rnn, {"b,t,8", "1,4,8", "1,4,4"}, batch_first, "[b, t, 1, 4] [b, 1, 4]"},
      {Op::lstm, {"t,b,8", "1,12,8", "1,16,4"}, {}, "gates times hidden_size"},
  });
}

TEST(InferOps, AttentionAndNorms) {
  Attributes heads = attributes({{"heads", one(4)}, {"head_dim", one(16)}}), grouped = heads, uneven = heads, odd = heads;
  grouped.set("kv_heads", one(2));
  uneven.set("kv_heads", one(3));
  odd.set("rotary_dim", one(5));
  check({
      {Op::attention, {"b,t,64", "b,s,32", "b,s,16"}, grouped, "[b, t, 32]"},
      {Op::attention, {"b,t,64", "b,s,64", "b,s,64"}, uneven, "kv_heads 3 do not divide heads 4"},
      {Op::attention, {"b,t,64", "b,7,64", "b,8,64"}, heads, "lengths of k and v differ"},
      {Op::attention, {"b,t,64", "b,7,64", "b,7,64", "b,9"}, heads, "last dimension of the mask"},
      {Op::attention, {"b,t,64", "b,t,64", "b,t,64", "", "b,4,c,16"}, heads, "k_state and v_state come together"},
      {Op::attention, {"b,t,60", "b,t,64", "b,t,64"}, heads, "60 and 64"},
      {Op::rope, {"b,t,64", "int:b,t"}, heads, "[b, t, 64]"},
      {Op::rope, {"b,t,64", "int:b,t"}, odd, "rotary_dim is 5"},
      {Op::positions, {"int:b,t"}, {}, "[b, t]"},
      {Op::token_pool, {"b,t,64", "int:b,t"}, with("mode", text("cls")), "[b, 64]"},
      {Op::token_pool, {"b,t,64"}, with("mode", text("sum")), "known are mean, cls, max, last"},
      {Op::layer_norm, {"b,t,64", "64", "64"}, {}, "[b, t, 64]"},
      {Op::layer_norm, {"b,t,64", "63", "64"}, {}, "do not broadcast"},
      {Op::batch_norm, {"n,8,h,w", "8", "8", "8", "7"}, {}, "input 4 and the channels differ"},
      {Op::group_norm, {"n,8,h,w", "8", "8"}, with("groups", one(3)), "do not divide the 8 channels"},
      {Op::softmax, {"b,8"}, with("axis", one(2)), "axis 2 is outside"},
      {Op::where, {"int:b,1", "1,t", "#1"}, {}, "[b, t]"},
      {Op::add, {"b,1,8", "t,1"}, {}, "[b, t, 8]"},
      {Op::add, {"2,8", "3,8"}, {}, "2 against 3"},
      {Op::prelu, {"n,8,4,4", "8,1,1"}, {}, "[n, 8, 4, 4]"},
      {Op::cast, {"b"}, with("to", text("f31")), "which is no dtype"},
  });
}

// elements of a value, "[batch, 3]", or "unknown"
std::string elements(const Graph& g, ValueId value) {
  auto facts = infer_facts(g);
  auto& known = facts[size_t(value)].elements;
  return known ? to_string(*known) : "unknown";
}

TEST(InferElements, FollowArithmeticOnSizes) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("b"), Dim::symbol("t"), 384});
  ValueId shape = g.add(Op::shape_of, {x}), twelve = vector_of(g, "twelve", {12}), two = vector_of(g, "two", {2});
  auto at = [&](int64_t i) { return g.add(Op::gather, {shape, vector_of(g, cat("i", i, g.values().size()), {i})}); };
  EXPECT_EQ(elements(g, shape), "[b, t, 384]");
  EXPECT_EQ(elements(g, g.add(Op::div, {at(-1), twelve})), "[32]");
  EXPECT_EQ(elements(g, g.add(Op::div, {at(1), two})), "[floor_div(t, 2)]");
  EXPECT_EQ(elements(g, g.add(Op::mul, {at(0), at(1)})), "[b*t]");
  EXPECT_EQ(elements(g, g.add(Op::sub, {g.add(Op::add, {at(0), twelve}), at(0)})), "[12]");
  EXPECT_EQ(elements(g, g.add(Op::mod, {g.add(Op::mul, {at(0), twelve}), twelve})), "[0]");
  EXPECT_EQ(elements(g, g.add(Op::reduce_prod, {shape})), "[384*b*t]");
  EXPECT_EQ(elements(g, g.add(Op::size_of, {x})), "[384*b*t]");
  EXPECT_EQ(elements(g, g.add(Op::minimum, {at(1), vector_of(g, "512", {512})})), "[min(t, 512)]");
  EXPECT_EQ(elements(g, g.add(Op::concat, {at(1), twelve, at(0)}, with("axis", one(0)))), "[t, 12, b]");
  EXPECT_EQ(elements(g, g.add(Op::slice, {shape, vector_of(g, "from", {-2}), vector_of(g, "to", {INT64_MAX})})), "[t, 384]");
  NodeId parts = g.add_node(Op::split, {shape}, 3, with("axis", one(0)));
  EXPECT_EQ(elements(g, g.node(parts).outputs[1]), "[t]");
}

TEST(InferElements, DecideComparisonsOfSizes) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("b"), Dim::symbol("t"), 384});
  ValueId shape = g.add(Op::shape_of, {x}), minus = vector_of(g, "minus", {-1});
  EXPECT_EQ(elements(g, g.add(Op::equal, {shape, minus})), "[0, 0, 0]");
  EXPECT_EQ(elements(g, g.add(Op::greater, {shape, minus})), "[1, 1, 1]");
  EXPECT_EQ(elements(g, g.add(Op::less, {shape, vector_of(g, "five", {5})})), "unknown");
  // PyTorch's expand: where(target == -1, 1, target)
  ValueId target = vector_of(g, "target", {-1, 7, 1});
  ValueId ones = g.add(Op::constant_of_shape, {vector_of(g, "three", {3})}, attributes({{"value", 1.0}, {"dtype", text("s64")}}));
  ValueId chosen = g.add(Op::where, {g.add(Op::equal, {target, minus}), ones, target});
  EXPECT_EQ(elements(g, chosen), "[1, 7, 1]");
  EXPECT_EQ(elements(g, g.add(Op::where, {g.add(Op::equal, {shape, minus}), ones, shape})), "[b, t, 384]");
}

TEST(InferElements, PassThroughFloatsAndRanges) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("b"), Dim::symbol("h")});
  ValueId h = g.add(Op::gather, {g.add(Op::shape_of, {x}), scalar(g, "one", 1)});
  ValueId f = g.add(Op::mul, {g.add(Op::cast, {h}, with("to", text("f32"))), number(g, "two", 2)});
  ValueId back = g.add(Op::cast, {g.add(Op::floor, {f})}, with("to", text("s64")));
  EXPECT_EQ(elements(g, back), "[2*h]");
  EXPECT_EQ(elements(g, g.add(Op::div, {f, number(g, "half", 4)})), "unknown");  // h / 2 may not be whole
  EXPECT_EQ(shape_text(g, g.add(Op::range, {scalar(g, "zero", 0), back, scalar(g, "step", 1)})), "[2*h]");
  EXPECT_EQ(elements(g, g.add(Op::range, {scalar(g, "0", 0), scalar(g, "6", 6), scalar(g, "2", 2)})), "[0, 2, 4]");
}

TEST(InferElements, GiveUpOnOverflowAndOnValuesThatDoNotFit) {
  Graph g;
  ValueId large = scalar(g, "large", INT64_MAX);
  EXPECT_EQ(elements(g, g.add(Op::add, {large, scalar(g, "one", 1)})), "unknown");
  EXPECT_EQ(elements(g, g.add(Op::cast, {scalar(g, "300", 300)}, with("to", text("u8")))), "unknown");
  EXPECT_EQ(elements(g, g.add(Op::neg, {number(g, "zero", 0)})), "unknown");  // minus zero
  EXPECT_EQ(elements(g, g.add(Op::div, {large, scalar(g, "none", 0)})), "unknown");
}

TEST(InferElements, KeepTheLengthOfAShapeWithUnknownParts) {
  Graph g;
  ValueId x = g.add_input("x", DType::kF32, {Dim::symbol("b"), 12}), n = g.add_input("n", DType::kS64, {1});
  ValueId b = g.add(Op::shape_of, {x}, attributes({{"end", one(1)}}));
  ValueId y = g.add(Op::reshape, {x, g.add(Op::concat, {b, n, vector_of(g, "open", {-1})}, with("axis", one(0)))});
  std::string shape = shape_text(g, y);
  EXPECT_TRUE(shape.starts_with("[b, ?")) << shape;
  EXPECT_EQ(symbols_of(g), (std::vector<std::string>{"b"}));
}

}  // namespace
}  // namespace lacuna
