#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <jpeglib.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

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
  preprocess(image, {.height = 2, .width = 2, .mean = {0, 0.5f, 0}, .deviation = {1, 1, 1}, .channels_last = true}, out);
  EXPECT_FLOAT_EQ(out[3], 1);
  EXPECT_FLOAT_EQ(out[4], 0.5f);
  EXPECT_FLOAT_EQ(out[11], 0.4f);
}

// A JPEG of a coloured ramp.
std::vector<std::byte> ramp_jpeg(int side) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr error{};
  jpeg.err = jpeg_std_error(&error);
  jpeg_create_compress(&jpeg);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &out, &size);
  jpeg.image_width = jpeg.image_height = JDIMENSION(side);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<uint8_t> row(size_t(side) * 3);
  for (int y = 0; y < side; y++) {
    for (int x = 0; x < 3 * side; x++) row[size_t(x)] = uint8_t(x * 7 + y * 5);
    JSAMPROW rows = row.data();
    jpeg_write_scanlines(&jpeg, &rows, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::vector<std::byte> bytes(reinterpret_cast<std::byte*>(out), reinterpret_cast<std::byte*>(out) + size);
  jpeg_destroy_compress(&jpeg);
  std::free(out);
  return bytes;
}

template <class Body>
std::string refusal(Body&& body) {
  try {
    body();
  } catch (const InvalidData& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Images, AJpegThatIsCutOffIsAnErrorNamingIt) {
  auto bytes = ramp_jpeg(32);
  Image whole = decode_image(bytes, "a.jpg");
  EXPECT_EQ(whole.width, 32);
  for (size_t cut : {bytes.size() - 2, bytes.size() * 85 / 100, bytes.size() / 2}) {
    std::string message = refusal([&] { decode_image(std::span(bytes).first(cut), "a.jpg"); });
    EXPECT_TRUE(message.starts_with("a.jpg: damaged JPEG: Premature end of JPEG file")) << cut << " " << message;
  }
}

TEST(Images, AJpegWithSurplusBytesBeforeItsEndIsWhole) {
  auto bytes = ramp_jpeg(32);
  Image whole = decode_image(bytes, "a.jpg");
  bytes.insert(bytes.end() - 2, 2, std::byte{0});
  EXPECT_EQ(decode_image(bytes, "a.jpg").pixels, whole.pixels);
}

// Files to put into folders and archives, in this order.
class Dataset : public testing::Test {
 protected:
  Dataset() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lacuna-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~Dataset() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path folder() {
    for (auto& [name, bytes] : files_) {
      auto path = directory_ / "folder" / name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    }
    return directory_ / "folder";
  }
  std::filesystem::path tar() {
    auto path = directory_ / "files.tar";
    std::unique_ptr<archive, int (*)(archive*)> writer(archive_write_new(), archive_write_free);
    archive_write_set_format_ustar(writer.get());
    EXPECT_EQ(archive_write_open_filename(writer.get(), path.c_str()), ARCHIVE_OK);
    for (auto& [name, bytes] : files_) {
      std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), archive_entry_free);
      archive_entry_set_pathname(entry.get(), name.c_str());
      archive_entry_set_size(entry.get(), la_int64_t(bytes.size()));
      archive_entry_set_filetype(entry.get(), AE_IFREG);
      archive_entry_set_perm(entry.get(), 0644);
      EXPECT_EQ(archive_write_header(writer.get(), entry.get()), ARCHIVE_OK);
      archive_write_data(writer.get(), bytes.data(), bytes.size());
    }
    EXPECT_EQ(archive_write_close(writer.get()), ARCHIVE_OK);
    return path;
  }

  std::filesystem::path directory_;
  std::vector<std::pair<std::string, std::vector<std::byte>>> files_ = {{"set/dog/2.jpg", ramp_jpeg(16)},
                                                                        {"set/cat/1.jpg", ramp_jpeg(8)},
                                                                        {"notes.txt", std::vector<std::byte>(700)},
                                                                        {"set/cat/3.jpg", ramp_jpeg(24)},
                                                                        {"set/dog/4.jpg", ramp_jpeg(8)}};
};

TEST_F(Dataset, IsTheSameInAFolderAndInAnArchiveOfAnyOrder) {
  std::string hashes[2];
  int i = 0;
  for (auto& source : {folder(), tar()}) {
    ImageDataset data(source);
    EXPECT_EQ(data.classes(), (std::vector<std::string>{"cat", "dog"}));
    EXPECT_EQ(data.size(), 4);
    std::map<std::string, int64_t> labels;
    std::vector<size_t> batches;
    hashes[i++] = data.visit(3, [&](std::span<const ImageDataset::File> files) {
      batches.push_back(files.size());
      for (auto& file : files) {
        labels[file.name] = file.label;
        EXPECT_GE(decode_image(file.bytes, file.name).width, 8);
      }
    });
    EXPECT_EQ(batches, (std::vector<size_t>{3, 1}));
    EXPECT_EQ(labels.at(source.string() + ": set/dog/2.jpg"), 1);
    EXPECT_EQ(labels.at(source.string() + ": set/cat/3.jpg"), 0);
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST_F(Dataset, ALimitTakesImagesOfEveryClass) {
  ImageDataset data(tar(), 2);
  std::vector<int64_t> labels;
  data.visit(5, [&](std::span<const ImageDataset::File> files) {
    for (auto& file : files) labels.push_back(file.label);
  });
  EXPECT_EQ(labels, (std::vector<int64_t>{1, 0}));  // of cat/1, cat/3, dog/2, dog/4 the first and the third, in the order of the archive
}

TEST_F(Dataset, ATarThatIsCutOffAnywhereIsAnErrorNamingIt) {
  auto path = tar();
  // Headers of 512 bytes, then the bytes of the file in blocks of 512.
  std::vector<uintmax_t> ends = {0};
  for (auto& [name, bytes] : files_) ends.push_back(ends.back() + 512 + (bytes.size() + 511) / 512 * 512);
  for (size_t i = ends.size(); i-- > 1;)
    for (uintmax_t size : {ends[i], ends[i] - 300}) {
      std::filesystem::resize_file(path, size);
      EXPECT_TRUE(refusal([&] { ImageDataset data(path); }).find("files.tar: ") != std::string::npos) << size;
    }
}

TEST(Images, CifarTestArchiveHasTenClassesInOrder) {
  auto path = kData / "cifar10/test.tar.gz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "missing " << path;
  ImageDataset data(path, 100);
  EXPECT_EQ(data.classes(), (std::vector<std::string>{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}));
  std::map<int64_t, int> of_class;
  data.visit(7, [&](std::span<const ImageDataset::File> files) {
    for (auto& file : files) {
      of_class[file.label]++;
      EXPECT_EQ(decode_image(file.bytes, file.name).height, 32);
    }
  });
  EXPECT_EQ(of_class.size(), 10u);
  EXPECT_EQ(of_class[9], 10);
}

TEST(Archive, ATruncatedArchiveIsAnErrorNamingTheFile) {
  auto path = std::filesystem::temp_directory_path() / "lacuna_truncated.tar.gz";
  std::ofstream(path, std::ios::binary) << std::string("\x1f\x8b\x08\x00garbage", 11);
  try {
    for_each_file(
        path, [](auto&) { return true; }, [](FileEntry) {});
    FAIL();
  } catch (const InvalidData& e) {
    EXPECT_NE(std::string(e.what()).find("lacuna_truncated"), std::string::npos);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace lacuna
