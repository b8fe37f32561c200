#include <gtest/gtest.h>

#include <fstream>

#include "data/archive.h"
#include "data/csv.h"
#include "data/images.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

const std::filesystem::path kData = LACUNA_SOURCE_DIR "/../shared/data";

TEST(Csv, ReadsQuotesCommasAndNewlinesInsideFields) {
  auto rows = parse_csv("a,\"b, \"\"c\"\"\",3\r\n\"x\ny\",,\"\"\n", "test");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0], (std::vector<std::string>{"a", "b, \"c\"", "3"}));
  EXPECT_EQ(rows[1], (std::vector<std::string>{"x\ny", "", ""}));
}

TEST(Csv, NamesTheLineOfAnOpenQuote) {
  try {
    parse_csv("a\n\"b", "t.csv");
    FAIL();
  } catch (const InvalidData& e) {
    EXPECT_NE(std::string(e.what()).find("line 2"), std::string::npos);
  }
}

TEST(Images, RefuseBytesThatAreNoImage) {
  std::vector<std::byte> bytes(10);
  EXPECT_THROW(decode_image(bytes, "x"), InvalidData);
}

TEST(Images, ATruncatedJpegHeaderIsAnError) {
  std::vector<std::byte> bytes = {std::byte{0xff}, std::byte{0xd8}, std::byte{0xff}};
  EXPECT_THROW(decode_image(bytes, "x"), InvalidData);
}

TEST(Images, PreprocessOfTheSameSizeOnlyNormalises) {
  Image image{2, 2, {0, 0, 0, 255, 255, 255, 51, 51, 51, 102, 102, 102}};
  std::vector<float> out(12);
  preprocess(image, {.height = 2, .width = 2, .mean = {0, 0, 0}, .deviation = {1, 1, 1}}, out);
  EXPECT_FLOAT_EQ(out[0], 0);
  EXPECT_FLOAT_EQ(out[1], 1);
  EXPECT_FLOAT_EQ(out[2], 0.2f);
  EXPECT_FLOAT_EQ(out[7], 0.4f);  // plane 1, last pixel
}

TEST(Images, CifarTestArchiveHasTenClassesInOrder) {
  auto path = kData / "cifar10/test.tar.gz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "missing " << path;
  ImageDataset data = read_images(path, 100);
  EXPECT_EQ(data.classes, (std::vector<std::string>{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}));
  ASSERT_EQ(data.images.size(), 100u);
  EXPECT_EQ(data.images[0].image.height, 32);
  EXPECT_EQ(data.images[99].label, 9);
}

TEST(Archive, ATruncatedArchiveIsAnErrorNamingTheFile) {
  auto path = std::filesystem::temp_directory_path() / "lacuna_truncated.tar.gz";
  std::ofstream(path, std::ios::binary) << std::string("\x1f\x8b\x08\x00garbage", 11);
  try {
    for_each_file(path, [](auto&) { return true; }, [](FileEntry) {});
    FAIL();
  } catch (const InvalidData& e) {
    EXPECT_NE(std::string(e.what()).find("lacuna_truncated"), std::string::npos);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace lacuna
