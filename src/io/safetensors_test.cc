#include "io/safetensors.h"

#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "base/rng.h"
#include "io/testing.h"

namespace lacuna {
namespace {

std::string file_with(const std::string& header, size_t data_bytes) {
  uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + std::string(data_bytes, '\1');
}

std::string refusal(const std::string& file) {
  return message_of([&] { parse_safetensors_header(std::as_bytes(std::span(file)), "x.safetensors"); });
}

TEST(Safetensors, ReadsWhatItWrites) {
  TemporaryDirectory dir;
  Tensor a = Tensor::of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  Tensor b = Tensor::of<uint8_t>({3}, std::vector<uint8_t>{7, 8, 9});
  Tensor scalar = Tensor::of<int64_t>({}, std::vector<int64_t>{-5});
  SafetensorsWriter writer(dir / "m.safetensors",
                           {{"b", b.dtype(), b.shape()}, {"a", a.dtype(), a.shape()}, {"s", scalar.dtype(), {}}, {"none", DType::kF16, {0, 4}}},
                           {{"format", "pt"}});
  writer.write("a", a.bytes().span());
  writer.write("s", scalar.bytes().span());
  writer.write("b", b.bytes().span());
  EXPECT_FALSE(std::filesystem::exists(dir / "m.safetensors"));
  writer.commit();
  SafetensorsFile file(dir / "m.safetensors");
  EXPECT_EQ(file.header().data_begin % 64, 0u);
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  ASSERT_EQ(file.header().entries.size(), 4u);
  EXPECT_EQ(absolute_error(file.tensor(*file.find("a")), a), 0);
  EXPECT_EQ(absolute_error(file.tensor(*file.find("b")), b), 0);
  EXPECT_EQ(file.tensor(*file.find("s")).data<int64_t>()[0], -5);
  EXPECT_EQ(file.find("none")->shape, (Shape{0, 4}));
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, CopiesTensorsThatAreNotAligned) {
  TemporaryDirectory dir;
  put_file(dir / "m.safetensors",
           file_with(R"({"p":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"q":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})", 9));
  SafetensorsFile file(dir / "m.safetensors");
  Tensor q = file.tensor(*file.find("q"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(q.raw()) % 4, 0u);
  EXPECT_EQ(q.data<float>()[0], std::bit_cast<float>(0x01010101));
}

TEST(Safetensors, NamesWhatIsWrongWithAHeader) {
  EXPECT_TRUE(contains(refusal("abc"), "x.safetensors: is 3 bytes"));
  EXPECT_TRUE(contains(refusal(std::string(8, '\xff') + "{}"), "at most 100000000"));
  EXPECT_TRUE(contains(refusal(std::string("\x90\0\0\0\0\0\0\0{}", 10)), "states a header of 144 bytes, the file has 2"));
  EXPECT_TRUE(contains(refusal(file_with("[1]", 0)), "does not start with '{'"));
  EXPECT_TRUE(contains(refusal(file_with("{\"a\":", 0)), "not JSON"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 8)),
                       "tensor 'a' ends at byte 24 of the data, the file has 8"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)), "'a' has 4 bytes, f32 [2] needs 8"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 8)), "starts at byte 4 and ends at byte 0"));
  EXPECT_TRUE(
      contains(refusal(file_with(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6)),
               "overlap"));
  EXPECT_TRUE(contains(
      refusal(file_with(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", 3)), "gap"));
  EXPECT_TRUE(
      contains(refusal(file_with(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 3)), "end at byte 1 of the data, the file has 3"));
  EXPECT_TRUE(
      contains(refusal(file_with(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0)),
               "'a' occurs twice"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0)), "overflows"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}})", 0)), "negative number"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})", 0)), "must state dtype, shape and data_offsets"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0]}})", 0)), "1 data offsets"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":{"dtype":{"c":1}}})", 0)), "nested object"));
  EXPECT_TRUE(contains(refusal(file_with(R"({"a":7})", 0)), "a number"));
}

TEST(Safetensors, ListsEveryTensorOfAnUnknownType) {
  std::string message = refusal(file_with(
      R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"c":{"dtype":"C64","shape":[0],"data_offsets":[2,2]}})",
      2));
  EXPECT_TRUE(contains(message, "'a' (F8_E4M3), 'c' (C64)"));
}

TEST(Safetensors, SurvivesFlippedBitsAndTruncation) {
  std::string good =
      file_with(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[24,26]}})", 26);
  Rng rng(1);
  for (int i = 0; i < 20000; i++) {
    std::string bad = good;
    for (int flips = 0; flips < 1 + i % 3; flips++) bad[size_t(rng.below(int64_t(bad.size())))] ^= char(1 << rng.below(8));
    if (i % 4 == 0) bad.resize(size_t(rng.below(int64_t(bad.size()))));
    try {
      for (auto& entry : parse_safetensors_header(std::as_bytes(std::span(bad)), "x").entries) EXPECT_LE(entry.end, bad.size());
    } catch (const Error&) {
    }
  }
}

TEST(Safetensors, ADiskThatFillsUpLeavesNothingBehind) {
  TemporaryDirectory dir;
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = {4096, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message = message_of<IoError>([&] {
    SafetensorsWriter writer(dir / "m.safetensors", {{"a", DType::kF32, {10000}}});
    writer.write("a", Tensor(DType::kF32, {10000}).bytes().span());
  });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_TRUE(contains(message, "m.safetensors: cannot write 40000 bytes"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace lacuna
