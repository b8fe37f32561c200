#include "runtime/weight_codes.h"

#include <gtest/gtest.h>

#include "base/cat.h"
#include "base/rng.h"

namespace lacuna {
namespace {

using Granularity = Encoding::Granularity;

constexpr int64_t kGroup = 32;

// The code at an offset of the source.
int code_at(const Tensor& codes, int64_t offset) {
  auto* bytes = reinterpret_cast<const uint8_t*>(codes.raw());
  int64_t last = codes.shape().back();
  int nibble = (bytes[offset / last * ((last + 1) / 2) + offset % last / 2] >> (offset % last % 2 * 4)) & 15;
  switch (codes.dtype()) {
    case DType::kS8: return int8_t(bytes[offset]);
    case DType::kU8: return bytes[offset];
    case DType::kS4: return nibble > 7 ? nibble - 16 : nibble;
    default: return nibble;
  }
}

Tensor random_codes(Rng& rng, DType type, const Shape& shape, int64_t below) {
  Tensor codes(type, shape);
  for (size_t i = 0; i < codes.size_bytes(); i++) codes.mutable_raw()[i] = std::byte(rng.below(below));
  return codes;
}

struct Case {
  Weight weight;
  WeightData data;
  Mask mask;
};

Case random_case(Rng& rng, MatrixLayout layout, const Shape& shape, DType type, bool zero_points) {
  MatrixView view(layout, shape);
  int64_t groups = (view.cols + kGroup - 1) / kGroup;
  Case c = {.weight = {.name = "w",
                       .shape = shape,
                       .layout = layout,
                       .encoding = {.values = type, .granularity = Granularity::kGroup, .group = kGroup, .has_zero_points = zero_points}},
            .data = {.values = random_codes(rng, type, shape, bits_of(type) == 8 ? 128 : 256), .scales = Tensor(DType::kF32, {view.rows, groups})},
            .mask = Mask(view.rows, view.cols, true)};
  for (float& s : c.data.scales.mutable_data<float>()) s = float(rng.uniform()) + 0.5f;
  if (zero_points) c.data.zero_points = random_codes(rng, type, {view.rows, groups}, bits_of(type) == 8 ? 100 : 256);
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t col = 0; col < view.cols; col++) c.mask.set(r, col, rng.uniform() < 0.5);
  return c;
}

TEST(WeightCodes, OfEveryTypeLayoutAndMaskEqualTheDefinition) {
  Rng rng(7);
  struct Place {
    MatrixLayout layout;
    Shape shape;
  };
  for (const Place& p : {Place{MatrixLayout::kOutIn, {70, 100}}, Place{MatrixLayout::kInOut, {67, 21}}, Place{MatrixLayout::kConv, {18, 5, 3, 3}}})
    for (DType type : {DType::kS8, DType::kU8, DType::kS4, DType::kU4})
      for (bool masked : {false, true})
        for (bool zero_points : {false, true}) {
          if (zero_points && type == DType::kS4) continue;
          Case c = random_case(rng, p.layout, p.shape, type, zero_points);
          MatrixView view(p.layout, p.shape);
          std::string name = cat(name_of(p.layout), " ", name_of(type), " mask ", masked, " zero points ", zero_points);
          auto codes = stored_codes(c.weight, c.data, view, masked ? &c.mask : nullptr);
          ASSERT_TRUE(codes) << name;
          EXPECT_EQ(codes->type, bits_of(type) == 8 ? DType::kS8 : DType::kS4);
          int64_t groups = (view.cols + kGroup - 1) / kGroup;
          for (int64_t r = 0; r < view.rows; r++)
            for (int64_t col = 0; col < view.cols; col++) {
              int64_t group = r * groups + col / kGroup;
              int zero = zero_points && bits_of(type) == 8 ? code_at(c.data.zero_points, group) : type == DType::kU4 ? 8 : 0;
              int wanted = masked && !c.mask.kept(r, col) ? 0 : code_at(c.data.values, view.offset(r, col)) - zero;
              ASSERT_EQ(codes->codes.data<int8_t>()[size_t(r * view.cols + col)], wanted) << name;
              if (type != DType::kU4) continue;
              float minimum =
                  zero_points ? float(8 - code_at(c.data.zero_points, group)) * codes->scales[size_t(group)] : 8 * codes->scales[size_t(group)];
              ASSERT_NEAR(codes->minima[size_t(group)], minimum, 1e-5) << name;
            }
        }
}

TEST(WeightCodes, ACodeThatDoesNotFitCountsOnlyWhereItIsKept) {
  Weight weight{
      .name = "w", .shape = {1, 3}, .layout = MatrixLayout::kOutIn, .encoding = {.values = DType::kU8, .granularity = Granularity::kTensor}};
  WeightData data{.values = Tensor::of<uint8_t>({1, 3}, std::vector<uint8_t>{127, 128, 5}), .scales = Tensor::of<float>({1}, std::vector<float>{1})};
  MatrixView view(weight.layout, weight.shape);
  EXPECT_FALSE(stored_codes(weight, data, view, nullptr));
  Mask mask(1, 3, true);
  mask.set(0, 1, false);
  EXPECT_TRUE(stored_codes(weight, data, view, &mask));
  data.mask = mask;
  EXPECT_TRUE(stored_codes(weight, data, view, nullptr));
}

TEST(WeightCodes, FloatsAreRoundedToTheNearestCodeTiesToEven) {
  Weight weight{.name = "w", .shape = {2, 5}, .layout = MatrixLayout::kOutIn, .encoding = {.values = DType::kF32}};
  WeightData data;
  Tensor values = Tensor::of<float>({2, 5}, std::vector<float>{254, 1, 3, -5, -0.0f, 0, 0, 0, 0, 0});  // of the first row the scale is 2
  WeightCodes codes = codes_of(weight, data, MatrixView(weight.layout, weight.shape), values, nullptr);
  auto found = codes.codes.data<int8_t>();
  EXPECT_EQ(std::vector<int8_t>(found.begin(), found.end()), (std::vector<int8_t>{127, 0, 2, -2, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(codes.scales, (std::vector<float>{2, 0}));
}

}  // namespace
}  // namespace lacuna
