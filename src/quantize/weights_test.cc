#include "quantize/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/cat.h"
#include "base/rng.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

struct Case {
  Weight weight;
  WeightData data;
  std::vector<float> values;  // in source order, zeros where removed
};

// Values of a bell shape; `density` below 1 adds a mask of random positions.
Case make_case(MatrixLayout layout, Shape shape, double density, uint64_t seed) {
  Rng rng(seed);
  Case c{.weight = {.name = cat("w", seed), .shape = shape, .layout = layout}};
  MatrixView view(layout, shape);
  c.values.resize(size_t(element_count(shape)));
  for (float& v : c.values) v = float((rng.uniform() + rng.uniform() + rng.uniform() - 1.5) * 0.2);
  if (density < 1) {
    Mask mask(view.rows, view.cols, true);
    for (int64_t r = 0; r < view.rows; r++)
      for (int64_t k = 0; k < view.cols; k++)
        if (rng.uniform() >= density) mask.set(r, k, false), c.values[size_t(view.offset(r, k))] = 0;
    c.data.mask = mask;
  }
  c.data.values = Tensor::of<float>(shape, std::span<const float>(c.values));
  return c;
}

std::vector<float> decoded(const Case& c, const WeightScheme& scheme, const WeightData& data) {
  Weight weight = c.weight;
  weight.encoding = encoding_of(scheme);
  Tensor t = decode_f32(weight, data);
  return {t.data<float>().begin(), t.data<float>().end()};
}

const WeightScheme kSchemes[] = {{DType::kS8, 0}, {DType::kS4, 32}, {DType::kS4, 128}};
struct Form {
  MatrixLayout layout;
  Shape shape;
};
const Form kForms[] = {{MatrixLayout::kOutIn, {7, 129}}, {MatrixLayout::kInOut, {65, 5}},  {MatrixLayout::kConv, {6, 5, 3, 3}},
                       {MatrixLayout::kOutIn, {1, 1}},   {MatrixLayout::kOutIn, {3, 256}}, {MatrixLayout::kConv, {4, 3, 7, 7}}};

TEST(QuantizeWeight, ZerosStayZeroAndTheMaskIsTheSameBitForBit) {
  uint64_t seed = 0;
  for (auto& scheme : kSchemes)
    for (auto& form : kForms)
      for (double density : {1.0, 0.5, 0.1}) {
        Case c = make_case(form.layout, form.shape, density, seed++);
        QuantizedWeight q = quantize_weight(c.weight, c.data, scheme);
        EXPECT_EQ(q.data.mask, c.data.mask) << c.weight.name;
        std::vector<float> back = decoded(c, scheme, q.data);
        for (size_t i = 0; i < back.size(); i++) ASSERT_TRUE(c.values[i] != 0 || back[i] == 0) << c.weight.name << " " << i;
      }
}

TEST(QuantizeWeight, EightBitsAreOffByHalfAStepAtMost) {
  for (auto& form : kForms) {
    Case c = make_case(form.layout, form.shape, 0.7, 77);
    QuantizedWeight q = quantize_weight(c.weight, c.data, {});
    std::vector<float> back = decoded(c, {}, q.data);
    MatrixView view(form.layout, form.shape);
    double error = 0, size = 0;
    for (int64_t r = 0; r < view.rows; r++) {
      double largest = 0;
      for (int64_t k = 0; k < view.cols; k++) largest = std::max(largest, double(std::abs(c.values[size_t(view.offset(r, k))])));
      for (int64_t k = 0; k < view.cols; k++) {
        double v = c.values[size_t(view.offset(r, k))], off = std::abs(v - back[size_t(view.offset(r, k))]);
        EXPECT_LE(off, largest / 127 * 0.50001);
        error += off * off, size += v * v;
      }
    }
    EXPECT_NEAR(q.relative_error, size > 0 ? std::sqrt(error / size) : 0, 1e-6);
  }
}

// The error of plain rounding with the largest magnitude of each group at 7, in a loop of its own.
TEST(QuantizeWeight, SearchedScalesOfFourBitsAreBetterThanTheLargestMagnitude) {
  Case c = make_case(MatrixLayout::kOutIn, {16, 256}, 1, 5);
  for (int64_t group : {32, 128}) {
    QuantizedWeight q = quantize_weight(c.weight, c.data, {DType::kS4, group});
    double error = 0, size = 0;
    for (size_t first = 0; first < c.values.size(); first += size_t(group)) {
      float largest = 0;
      for (size_t i = first; i < first + size_t(group); i++) largest = std::max(largest, std::abs(c.values[i]));
      for (size_t i = first; i < first + size_t(group); i++) {
        double off = c.values[i] - std::round(c.values[i] / (largest / 7)) * (largest / 7);
        error += off * off, size += double(c.values[i]) * c.values[i];
      }
    }
    EXPECT_LT(q.relative_error, 0.98 * std::sqrt(error / size)) << group;
    EXPECT_GT(q.relative_error, 0.03) << group;
  }
}

TEST(QuantizeWeight, RoundingAgainWhatIsCodedChangesNothing) {
  Case c = make_case(MatrixLayout::kOutIn, {5, 64}, 0.5, 9);
  QuantizedWeight once = quantize_weight(c.weight, c.data, {});
  Weight coded = c.weight;
  coded.encoding = encoding_of({});
  QuantizedWeight twice = quantize_weight(coded, once.data, {});
  EXPECT_EQ(0, std::memcmp(once.data.values.raw(), twice.data.values.raw(), once.data.values.size_bytes()));
  EXPECT_EQ(twice.data.mask, once.data.mask);
  EXPECT_LT(twice.relative_error, 1e-6);
}

TEST(QuantizeWeight, ZerosOfAPrunedWeightWithoutAMaskBecomeItsMask) {
  Case c = make_case(MatrixLayout::kOutIn, {4, 100}, 0.5, 3);
  Mask expected = *c.data.mask;
  c.data.mask.reset();
  EXPECT_EQ(quantize_weight(c.weight, c.data, {}).data.mask, expected);
  Case few = make_case(MatrixLayout::kOutIn, {4, 100}, 0.95, 4);
  few.data.mask.reset();
  EXPECT_FALSE(quantize_weight(few.weight, few.data, {}).data.mask.has_value());
}

TEST(QuantizeWeight, ValuesThatAreNotFiniteAreRefusedByName) {
  Case c = make_case(MatrixLayout::kOutIn, {2, 3}, 1, 1);
  c.data.values.mutable_data<float>()[4] = NAN;
  try {
    quantize_weight(c.weight, c.data, {});
    FAIL();
  } catch (const InvalidData& e) {
    EXPECT_NE(std::string(e.what()).find("'w1'"), std::string::npos);
  }
  c.data.values.mutable_data<float>()[4] = 1e20f;
  EXPECT_THROW(quantize_weight(c.weight, c.data, {DType::kS4, 32}), InvalidData);
}

}  // namespace
}  // namespace lacuna
