#include "evaluate/accuracy.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

TEST(Accuracy, AModelFixedToABatchTakesItsImagesInThatSize) {
  Graph open, fixed, none;
  open.add_input("x", DType::kF32, {Dim::symbol("n"), 3, 8, 8});
  fixed.add_input("ids", DType::kS64, {4});
  fixed.add_input("x", DType::kF32, {2, 3, 8, 8});
  none.add_input("x", DType::kF32, {1, 3});
  EXPECT_EQ(image_batch_size(open, 16), 16);
  EXPECT_EQ(image_batch_size(fixed, 16), 2);
  EXPECT_EQ(image_batch_size(none, 16), 16);
}

}  // namespace
}  // namespace lacuna
