#include "base/json_depth.h"

#include <gtest/gtest.h>

#include <string>

namespace lacuna {
namespace {

TEST(JsonDepth, CountsWhatIsOpenAtOnceOutsideOfStrings) {
  EXPECT_EQ(json_depth("7"), 0);
  EXPECT_EQ(json_depth("{}"), 1);
  EXPECT_EQ(json_depth(R"({"a": [1, {"b": 2}], "c": [[]]})"), 3);
  EXPECT_EQ(json_depth(R"(["[[[", "\"[[[", "\\", [1]])"), 2);
  EXPECT_EQ(json_depth("]]]["), 0);
  EXPECT_EQ(json_depth(std::string(1000, '[')), 1000);
}

}  // namespace
}  // namespace lacuna
