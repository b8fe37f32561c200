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

}  // namespace
}  // namespace lacuna
