#include "io/npy.h"

#include <cstring>

#include "base/rng.h"
#include "io/testing.h"

namespace lacuna {
namespace {

std::string npy(std::string header, std::string_view data) {
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += char(header.size() & 255);
  out += char(header.size() >> 8);
  return out + header + std::string(data);
}
Tensor parse(const std::string& file) { return parse_npy(std::as_bytes(std::span(file)), "x.npy"); }
std::string refusal(const std::string& file) {
  return message_of([&] { parse(file); });
}

TEST(Npy, ReadsWhatItWritesForEveryType) {
  TemporaryDirectory dir;
  for (DType type : {DType::kF64, DType::kF32, DType::kF16, DType::kS64, DType::kS32, DType::kS16, DType::kS8, DType::kU64, DType::kU32, DType::kU16,
                     DType::kU8, DType::kBool}) {
    for (Shape shape : {Shape{}, Shape{5}, Shape{2, 3}, Shape{2, 0, 3}}) {
      Tensor t(type, shape);
      for (int64_t i = 0; i < t.size(); i++) t.mutable_raw()[size_t(i * bits_of(type) / 8)] = std::byte(type == DType::kBool ? i % 2 : i);
      write_npy(dir / "x.npy", t);
      Tensor back = read_npy(dir / "x.npy");
      EXPECT_EQ(back.dtype(), type);
      EXPECT_EQ(back.shape(), shape);
      EXPECT_EQ(std::memcmp(back.raw(), t.raw(), t.size_bytes()), 0);
    }
  }
  EXPECT_EQ((std::filesystem::file_size(dir / "x.npy")) % 64, 0u);
}

TEST(Npy, TransposesFortranOrder) {
  Tensor t = parse(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", std::string("\1\2\3\4\5\6")));
  EXPECT_EQ(std::memcmp(t.raw(), "\1\3\5\2\4\6", 6), 0);
}

TEST(Npy, NamesWhatIsWrong) {
  EXPECT_TRUE(contains(refusal("hello, world"), "not a .npy file"));
  EXPECT_TRUE(
      contains(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "1234")), "<f4 [2] needs 8 bytes of data, the file has 4"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "1234")), "little-endian"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "12345678")), "elements are '<c8'"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234")), "structured"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "")), "overflows"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "")), "no dimension"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '<f4', 'shape': (1,), }", "1234")), "must state"));
  EXPECT_TRUE(contains(refusal(npy("{'descr': '<f4", "")), "ends inside a string"));
}

TEST(Npy, SurvivesFlippedBitsAndTruncation) {
  std::string good = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", std::string(24, '\1'));
  Rng rng(2);
  for (int i = 0; i < 20000; i++) {
    std::string bad = good;
    for (int flips = 0; flips < 1 + i % 3; flips++) bad[size_t(rng.below(int64_t(bad.size())))] ^= char(1 << rng.below(8));
    if (i % 4 == 0) bad.resize(size_t(rng.below(int64_t(bad.size()))));
    try {
      parse(bad);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace lacuna
