#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "lacuna/error.h"

namespace lacuna {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Rounding {
  float value;
  uint16_t bits;
};

void expect_bits(DType type, std::initializer_list<Rounding> cases) {
  for (auto& c : cases) {
    uint16_t bits = 0;
    convert_from_f32(&c.value, 1, type, reinterpret_cast<std::byte*>(&bits));
    EXPECT_EQ(bits, c.bits) << name_of(type) << " of " << c.value;
  }
}

TEST(Rounding, F16GoesToTheNearestAndTiesToEven) {
  // IEEE 754 binary16: 10 bits of fraction, least normal 2^-14, least subnormal 2^-24, largest 65504.
  expect_bits(DType::kF16, {{0.0f, 0x0000},
                            {-0.0f, 0x8000},
                            {1.0f, 0x3c00},
                            {-2.0f, 0xc000},
                            {0.1f, 0x2e66},
                            {1.0f / 3, 0x3555},
                            {1 + 0x1p-11f, 0x3c00},      // halfway: even
                            {1 + 3 * 0x1p-11f, 0x3c02},  // halfway: even, upwards
                            {1 + 0x1.004p-11f, 0x3c01},  // just above halfway
                            {65504.0f, 0x7bff},
                            {65519.0f, 0x7bff},
                            {65520.0f, 0x7c00},  // halfway to what would be 65536
                            {kInfinity, 0x7c00},
                            {-kInfinity, 0xfc00},
                            {0x1p-14f, 0x0400},
                            {0x1p-14f - 0x1p-25f, 0x0400},  // halfway between the largest subnormal and the least normal
                            {0x1p-24f, 0x0001},
                            {0x1p-25f, 0x0000},  // halfway to zero
                            {0x1.002p-25f, 0x0001},
                            {3 * 0x1p-25f, 0x0002},
                            {1e-30f, 0x0000}});
}

TEST(Rounding, Bf16GoesToTheNearestAndTiesToEven) {
  // The upper half of a float: 7 bits of fraction.
  expect_bits(DType::kBF16, {{0.0f, 0x0000},
                             {-0.0f, 0x8000},
                             {1.0f, 0x3f80},
                             {0.1f, 0x3dcd},
                             {3.14159265f, 0x4049},
                             {1 + 0x1p-8f, 0x3f80},
                             {1 + 3 * 0x1p-8f, 0x3f82},
                             {1 + 0x1.01p-8f, 0x3f81},
                             {0x1.fep127f, 0x7f7f},
                             {std::numeric_limits<float>::max(), 0x7f80},
                             {-kInfinity, 0xff80},
                             {std::numeric_limits<float>::denorm_min(), 0x0000}});
}

TEST(Rounding, EveryHalfComesBackAsItself) {
  for (DType type : {DType::kF16, DType::kBF16})
    for (uint32_t i = 0; i < 0x10000; i++) {
      uint16_t bits = uint16_t(i), back = 0;
      float value = 0;
      convert_to_f32(type, reinterpret_cast<const std::byte*>(&bits), 1, &value);
      convert_from_f32(&value, 1, type, reinterpret_cast<std::byte*>(&back));
      int fraction = type == DType::kF16 ? 10 : 7, exponent = (i & 0x7fff) >> fraction, all_ones = (1 << (15 - fraction)) - 1;
      bool nan = exponent == all_ones && (i & ((1u << fraction) - 1));
      ASSERT_EQ(std::isnan(value), nan) << i;
      if (nan) {
        convert_to_f32(type, reinterpret_cast<const std::byte*>(&back), 1, &value);
        ASSERT_TRUE(std::isnan(value)) << i;
      } else {
        ASSERT_EQ(back, bits) << name_of(type);
      }
    }
}

TEST(Tensor, FloatsBecomeIntegersByTheNearestEvenAndSaturate) {
  Tensor t = Tensor::of<float>({7}, std::vector<float>{0.5f, 1.5f, -2.5f, 127.5f, 1e9f, -1e9f, NAN}).to(DType::kS8);
  EXPECT_EQ(std::vector<int8_t>(t.data<int8_t>().begin(), t.data<int8_t>().end()), (std::vector<int8_t>{0, 2, -2, 127, 127, -128, 0}));
}

TEST(Tensor, NibbleRowsStartOnAByte) {
  EXPECT_EQ(Tensor(DType::kS4, {3, 5}).size_bytes(), 9u);
  EXPECT_EQ(Tensor(DType::kU4, {5}).size_bytes(), 3u);
  EXPECT_EQ(Tensor(DType::kU4, {2, 0}).size_bytes(), 0u);
}

TEST(Tensor, ErrorsCompareWithTheLargestOfTheReference) {
  Tensor a = Tensor::of<float>({2}, std::vector<float>{1, 4.5f}), b = Tensor::of<float>({2}, std::vector<float>{1, 5});
  EXPECT_EQ(relative_error(a, b), 0.1);
  EXPECT_EQ(absolute_error(a, b), 0.5);
  Tensor nan = Tensor::of<float>({2}, std::vector<float>{1, NAN});
  EXPECT_EQ(relative_error(nan, nan), 0);
  EXPECT_EQ(relative_error(nan, b), double(kInfinity));
  EXPECT_EQ(absolute_error(a, a.reshaped({2, 1})), double(kInfinity));
}

TEST(Tensor, ShapesFromFilesThatOverflowAreRefused) {
  EXPECT_EQ(checked_element_count(Shape{3, 0, int64_t(1) << 62}, DType::kF32, "t"), 0);
  EXPECT_THROW(checked_element_count(Shape{int64_t(1) << 40, int64_t(1) << 40}, DType::kU8, "t"), InvalidData);
  EXPECT_THROW(checked_element_count(Shape{int64_t(1) << 58}, DType::kF64, "t"), InvalidData);  // its bits overflow
  EXPECT_THROW(checked_element_count(Shape{-1}, DType::kU8, "t"), InvalidData);
}

}  // namespace
}  // namespace lacuna
