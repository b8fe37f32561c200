#include "cli/cli.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace lacuna::cli {
namespace {

TEST(Numbers, BytesHaveThreeDigitsAndADecimalUnit) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1000), "1.00 kB");
  EXPECT_EQ(bytes_text(12'345), "12.3 kB");
  EXPECT_EQ(bytes_text(123'456), "123 kB");
  EXPECT_EQ(bytes_text(1'090'000), "1.09 MB");
  EXPECT_EQ(bytes_text(999'600), "1.00 MB");  // not 1000 kB
  EXPECT_EQ(bytes_text(7'000'000'000), "7.00 GB");
  EXPECT_EQ(bytes_text(5'000'000'000'000'000), "5000 TB");
}

TEST(Numbers, CountsSharesAndShapes) {
  EXPECT_EQ(count_text(7), "7");
  EXPECT_EQ(count_text(269'722), "270 k");
  EXPECT_EQ(count_text(1.24e9), "1.24 G");
  EXPECT_EQ(percent(0.5), "50.00 %");
  EXPECT_EQ(percent(0.12345, 1), "12.3 %");
  EXPECT_EQ(fixed(-1.005, 1), "-1.0");
  EXPECT_EQ(shape_text({16, 3, 3, 3}), "16x3x3x3");
  EXPECT_EQ(shape_text({}), "scalar");
}

TEST(Pairs, AreNameAndValueOnceEach) {
  EXPECT_EQ(parse_pairs({"a=1", "b=x=y", "c="}, "--inputs"), (std::map<std::string, std::string>{{"a", "1"}, {"b", "x=y"}, {"c", ""}}));
  EXPECT_THROW(parse_pairs({"a"}, "--inputs"), InvalidArgument);
  EXPECT_THROW(parse_pairs({"=1"}, "--inputs"), InvalidArgument);
  EXPECT_THROW(parse_pairs({"a=1", "a=2"}, "--inputs"), InvalidArgument);
  EXPECT_EQ(parse_dimensions({"batch=8"}), (std::map<std::string, int64_t>{{"batch", 8}}));
  for (const char* bad : {"n=0", "n=-1", "n=", "n=two", "n=1.5"}) EXPECT_THROW(parse_dimensions({bad}), InvalidArgument) << bad;
}

TEST(Nearest, IsWhatATypoMeant) {
  std::vector<std::string> verbs = {"inspect", "run", "prune", "quantize", "bench"};
  EXPECT_EQ(nearest("prun", verbs), "prune");  // not run, which is as few letters away
  EXPECT_EQ(nearest("quantise", verbs), "quantize");
  EXPECT_EQ(nearest("benhc", verbs), "bench");
  EXPECT_EQ(nearest("serve", verbs), "");
  EXPECT_EQ(nearest("prune", {}), "");
}

std::string printed(const Table& table) {
  testing::internal::CaptureStdout();
  table.print();
  return testing::internal::GetCapturedStdout();
}

TEST(Tables, AlignNumbersRightAndNamesLeft) {
  Table table({"<weight", "bytes", "<note"});
  table.add({"conv", "1234", "a"});
  table.add({"a.long.name", "5", ""});
  EXPECT_EQ(printed(table),
            "weight       bytes  note\n"
            "conv          1234  a\n"
            "a.long.name      5\n");
}

TEST(Tables, CountCharactersNotBytesAndFillShortRows) {
  Table table({"<a", "<b", "c"});
  table.add({"\u00e9\u00e9", "x", "1"});
  table.add({"yyy"});
  EXPECT_EQ(printed(table),
            "a    b  c\n"
            "\u00e9\u00e9   x  1\n"
            "yyy\n");
}

TEST(ProgressBars, AreForTerminalsOnly) { EXPECT_EQ(progress_bar() != nullptr, isatty(STDERR_FILENO) != 0); }

}  // namespace
}  // namespace lacuna::cli
