#include "api/sample_inputs.h"

#include <gtest/gtest.h>

#include "lacuna/error.h"

namespace lacuna {
namespace {

TEST(SampleInputs, AFixedBatchIsTakenAndAnotherOneRefused) {
  Graph graph;
  graph.add_input("image", DType::kF32, {Dim(8), Dim(3), Dim(32), Dim(32)});
  EXPECT_EQ(batch_for(graph, std::nullopt), 8);
  EXPECT_EQ(batch_for(graph, 8), 8);
  EXPECT_THROW(batch_for(graph, 1), InvalidArgument);
}

TEST(SampleInputs, AnOpenBatchIsAsWanted) {
  Graph graph;
  graph.add_input("image", DType::kF32, {Dim::symbol("batch"), Dim(3), Dim(32), Dim(32)});
  EXPECT_EQ(batch_for(graph, std::nullopt), 1);
  EXPECT_EQ(batch_for(graph, 16), 16);
  EXPECT_THROW(batch_for(graph, 0), InvalidArgument);
}

TEST(SampleInputs, OpenTokensDoNotOpenTheBatch) {
  Graph graph;
  graph.add_input("input_ids", DType::kS64, {Dim(1), Dim::symbol("sequence")});
  EXPECT_EQ(batch_for(graph, std::nullopt), 1);
  EXPECT_THROW(batch_for(graph, 2), InvalidArgument);
  Graph alone;
  alone.add_input("input_ids", DType::kS64, {Dim::symbol("sequence")});
  EXPECT_EQ(batch_for(alone, std::nullopt), 1);
  EXPECT_THROW(batch_for(alone, 2), InvalidArgument);
}

TEST(SampleInputs, TokensAreThoseOfTheInputsOpenOrFixed) {
  Graph open, fixed, image;
  open.add_input("input_ids", DType::kS64, {Dim::symbol("batch"), Dim::symbol("sequence")});
  EXPECT_EQ(tokens_of(open, bind_symbols(open, {}, 2, 12)), 12);
  EXPECT_EQ(tokens_of(open, bind_symbols(open, {{"sequence", 7}}, 2, 12)), 7);
  fixed.add_input("input_ids", DType::kS64, {Dim::symbol("batch"), Dim(64)});
  EXPECT_EQ(tokens_of(fixed, bind_symbols(fixed, {}, 2, 12)), 64);
  image.add_input("image", DType::kF32, {Dim::symbol("batch"), Dim(3), Dim::symbol("height"), Dim(32)});
  EXPECT_EQ(tokens_of(image, bind_symbols(image, {}, 2, 12)), 0);
}

TEST(SampleInputs, TimeIsNoBatch) {
  for (const char* name : {"time", "T", "s77", "frames"}) {
    Graph speech;
    speech.add_input("features", DType::kF32, {Dim::symbol("batch"), Dim(80), Dim::symbol(name)});
    EXPECT_FALSE(counts_items(speech, name)) << name;
    EXPECT_EQ(tokens_of(speech, bind_symbols(speech, {}, 2, 12)), 12) << name;
    EXPECT_EQ(bind_symbols(speech, {{name, 40}}, 2, 12), (Bindings{{"batch", 2}, {name, 40}})) << name;
  }
  Graph film;
  film.add_input("frames", DType::kF32, {Dim::symbol("num_frames"), Dim(3), Dim(32), Dim(32)});
  EXPECT_EQ(bind_symbols(film, {}, 2, 12).at("num_frames"), 2);
  Graph masked;  // a picture's mask is a picture
  masked.add_input("mask", DType::kF32, {Dim::symbol("batch"), Dim(1), Dim::symbol("s1"), Dim::symbol("s2")});
  EXPECT_EQ(bind_symbols(masked, {}, 2, 12), (Bindings{{"batch", 2}, {"s1", 224}, {"s2", 224}}));
  Graph denoiser;  // one time for each item
  denoiser.add_input("sample", DType::kF32, {Dim::symbol("batch"), Dim(4), Dim(32), Dim(32)});
  denoiser.add_input("timestep", DType::kS64, {Dim::symbol("steps")});
  EXPECT_EQ(bind_symbols(denoiser, {}, 2, 12).at("steps"), 2);
}

TEST(SampleInputs, DimensionsThatMayAllBeTheBatchAreNone) {
  Graph graph;
  graph.add_input("x", DType::kF32, {Dim::symbol("nodes"), Dim(64)});
  EXPECT_TRUE(counts_items(graph, "nodes"));
  graph.add_input("sources", DType::kS64, {Dim::symbol("edges")});
  EXPECT_FALSE(counts_items(graph, "nodes"));
  EXPECT_FALSE(counts_items(graph, "edges"));
}

}  // namespace
}  // namespace lacuna
