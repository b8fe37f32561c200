#include "kernels/epilogue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/cat.h"
#include "base/rng.h"
#include "kernels/cases.h"
#include "kernels/support.h"

namespace lacuna::kernels {
namespace {

TEST(Epilogue, EveryStoreEqualsThePlainOneForEveryActivation) {
  for (int activation = 0; activation <= int(Activation::kClip); activation++)
    for (int64_t rows : {1, 7, 8, 16, 33})
      for (int64_t tokens : {1, 3, 4, 16, 37}) {
        SCOPED_TRACE(cat("activation ", activation, " rows ", rows, " tokens ", tokens));
        int64_t stride = std::max(rows, tokens) + 3;
        std::vector<float> sums = random_floats(stride * stride, 1), residual = random_floats(stride * stride, 2), bias = random_floats(rows + 2, 3);
        for (float& v : sums) v *= 6;
        Epilogue epilogue = {.bias = bias.data(), .residual = residual.data(), .residual_stride = stride, .activation = Activation(activation)};
        epilogue.alpha = 0.2f, epilogue.beta = 0.7f;
        bool exact = activation <= int(Activation::kRelu6) || activation == int(Activation::kClip);
        if (exact && rows > 7) epilogue.sum_rounding = {0.3f, -4}, epilogue.rounding = {0.05f, 100};
        using Store = void (*)(const OutputTile&, float*, int64_t, const Epilogue&) noexcept;
        for (auto [fast, plain] : std::initializer_list<std::pair<Store, Store>>{{store_transposed, reference::store_transposed},
                                                                                 {store_channel_major, reference::store_channel_major},
                                                                                 {store_token_major, reference::store_token_major}}) {
          std::vector<float> found(size_t(stride * stride), 99.0f), wanted = found;
          OutputTile tile = {.sums = sums.data(), .sums_stride = stride, .first_row = 2, .rows = rows, .first_token = 1, .tokens = tokens};
          fast(tile, found.data(), stride, epilogue);
          plain(tile, wanted.data(), stride, epilogue);
          for (size_t i = 0; i < found.size(); i++) ASSERT_NEAR(found[i], wanted[i], 1e-6 * (1 + std::fabs(wanted[i]))) << "at " << i;
        }
      }
}

// Ties and their neighbours: multiples of half a scale that is no power of two, and the floats beside them.
TEST(Quantize, RoundsQuotientsToEvenBesideTiesToo) {
  for (float scale : {0.1f, 0.037f, 3.3f}) {
    std::vector<float> x;
    for (int i = -300; i <= 300; i++)
      for (float v : {float(i) * 0.5f * scale, std::nextafterf(float(i) * 0.5f * scale, 1e9f), std::nextafterf(float(i) * 0.5f * scale, -1e9f)})
        x.push_back(v);
    std::vector<int8_t> found(x.size()), wanted(x.size());
    quantize_static_s8(x.data(), int64_t(x.size()), scale, 3, found.data());
    reference::quantize_static_s8(x.data(), int64_t(x.size()), scale, 3, wanted.data());
    EXPECT_EQ(found, wanted) << scale;
    std::vector<float> values(x.size()), plain(x.size());
    OutputTile tile = {.sums = x.data(), .sums_stride = 0, .first_row = 0, .rows = int64_t(x.size()), .first_token = 0, .tokens = 1};
    store_token_major(tile, values.data(), 0, {.rounding = {scale, 3}});
    reference::store_token_major(tile, plain.data(), 0, {.rounding = {scale, 3}});
    EXPECT_EQ(values, plain) << scale;
    for (size_t i = 0; i < x.size(); i++) ASSERT_EQ(plain[i], float(wanted[i] - 3) * scale);
  }
}

TEST(Transpose, SwapsRowsAndColumnsOfAnyShape) {
  for (int64_t rows : {1, 4, 15, 16, 17, 40})
    for (int64_t cols : {1, 3, 4, 9, 32}) {
      std::vector<float> in = random_floats(rows * (cols + 1), 1), out(size_t(cols * (rows + 2)), 7.0f);
      transpose(in.data(), cols + 1, rows, cols, out.data(), rows + 2);
      for (int64_t c = 0; c < cols; c++)
        for (int64_t r = 0; r < rows + 2; r++)
          ASSERT_EQ(out[size_t(c * (rows + 2) + r)], r < rows ? in[size_t(r * (cols + 1) + c)] : 7.0f) << rows << "x" << cols;
    }
}

TEST(Quantize, GivesTheCodesOfThePlainLoops) {
  for (int64_t n : {0, 1, 7, 16, 63, 64, 100}) {
    std::vector<float> x = random_floats(n, 5);
    if (n > 8) x[3] = NAN, x[5] = 2.5f, x[6] = -2.5f, x[7] = 1e30f;
    for (float factor : {1.0f, 0x1p-120f, 40.0f}) {
      std::vector<float> scaled = x;
      for (float& v : scaled) v *= factor;
      std::vector<int8_t> found(size_t(n) + 1, 9), wanted = found;
      EXPECT_EQ(quantize_token_s8(scaled.data(), n, found.data()), reference::quantize_token_s8(scaled.data(), n, wanted.data()));
      EXPECT_EQ(found, wanted);
      for (float scale : {0.5f, 0.037f, 0.01f})
        for (int32_t zero : {0, -128, 21}) {
          quantize_static_s8(scaled.data(), n, scale, zero, found.data());
          reference::quantize_static_s8(scaled.data(), n, scale, zero, wanted.data());
          EXPECT_EQ(found, wanted) << scale << " " << zero;
        }
    }
  }
}

TEST(BalancedCut, CoversAllUnitsInOrderWithAtMostTheWantedParts) {
  for (std::vector<int64_t> work : std::vector<std::vector<int64_t>>{{}, {5}, {1, 1, 1, 1}, {100, 1, 1, 1, 1}, {0, 0, 0, 0}, {1, 1, 1, 100}})
    for (int64_t parts : {1, 2, 3, 8}) {
      std::vector<int64_t> bounds = balanced_cut(work, parts);
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), int64_t(work.size()));
      EXPECT_LE(int64_t(bounds.size()) - 1, std::max<int64_t>(parts, 1));
      EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
    }
  EXPECT_EQ(balanced_cut(std::vector<int64_t>{1, 1, 1, 1}, 2), (std::vector<int64_t>{0, 2, 4}));
}

TEST(Codes, TheLargestOfRowsIsThatOfEachColumn) {
  Rng rng(21);
  for (int64_t rows : {0, 1, 3, 9})
    for (int64_t count : {1, 16, 63, 64, 65, 200}) {
      std::vector<int8_t> x(size_t(rows * count)), found(size_t(count), 77), wanted(size_t(count), -128);
      std::vector<const int8_t*> pointers;
      for (auto& v : x) v = int8_t(int(rng.below(256)) - 128);
      for (int64_t r = 0; r < rows; r++) {
        pointers.push_back(x.data() + r * count);
        for (int64_t i = 0; i < count; i++) wanted[size_t(i)] = std::max(wanted[size_t(i)], x[size_t(r * count + i)]);
      }
      largest_codes(pointers, count, found.data());
      EXPECT_EQ(found, wanted) << rows << " rows of " << count;
      reference::largest_codes(pointers, count, found.data());
      EXPECT_EQ(found, wanted) << rows << " rows of " << count;
    }
}

TEST(Codes, RoundedAnewAreThoseOfTheirValues) {
  Rng rng(23);
  for (int64_t channels : {1, 3, 8, 15, 16, 17, 40, 64, 130})
    for (int64_t pixels : {1, 5, 200})
      for (int kind : {0, 1, 2}) {             // alone, added, multiplied
        bool one = kind == 2 && channels % 2;  // by one pixel for all
        std::vector<int8_t> a(size_t(pixels * (channels + 3))), b(size_t(pixels * channels)), found(size_t(pixels * (channels + 2)), 77),
            wanted = found;
        for (auto* codes : {&a, &b})
          for (int8_t& v : *codes) v = int8_t(int(rng.below(256)) - 128);
        float x_scale = 0.013f + float(rng.uniform()), scale = 0.031f + float(rng.uniform());
        CodedPixels x = {a.data(), channels + 3, x_scale, 5}, other = {kind ? b.data() : nullptr, one ? 0 : channels, 0.07f, -9};
        CodeRule rule = static_rule(scale, 11);
        for (int64_t p = 0; p < pixels; p++)
          for (int64_t i = 0; i < channels; i++) {
            float v = float(a[size_t(p * (channels + 3) + i)] - 5) * x_scale, second = float(b[size_t((one ? 0 : p * channels) + i)] + 9) * 0.07f;
            if (kind == 1) v = v + second;
            if (kind == 2) v = v * second;
            reference::quantize_static_s8(&v, 1, scale, 11, &wanted[size_t(p * (channels + 2) + i)]);
          }
        recode(x, other, kind == 2, pixels, channels, rule, found.data(), channels + 2);
        EXPECT_EQ(found, wanted) << channels << " channels, kind " << kind;
        std::vector<float> values(size_t(pixels * channels + 1), 7.0f);
        values_of_codes(x, pixels, channels, values.data());
        for (int64_t i = 0; i < pixels * channels; i++)
          EXPECT_EQ(values[size_t(i)], float(a[size_t(i / channels * (channels + 3) + i % channels)] - 5) * x_scale);
        EXPECT_EQ(values.back(), 7.0f);
        std::fill(found.begin(), found.end(), int8_t(77));
        reference::recode(x, other, kind == 2, pixels, channels, rule, found.data(), channels + 2);
        EXPECT_EQ(found, wanted) << channels << " channels, kind " << kind << ", reference";
      }
}

TEST(Codes, ThreeRowsSideBySide) {
  Rng rng(22);
  for (int64_t count : {1, 2, 15, 16, 17, 128}) {
    std::vector<int8_t> x(size_t(3 * count)), found(size_t(3 * count + 1), 77), wanted = found;
    for (auto& v : x) v = int8_t(int(rng.below(256)) - 128);
    for (int64_t i = 0; i < 3 * count; i++) wanted[size_t(i)] = x[size_t(i % 3 * count + i / 3)];
    interleave_three({x.data(), x.data() + count, x.data() + 2 * count}, count, found.data());
    EXPECT_EQ(found, wanted) << count;
    reference::interleave_three({x.data(), x.data() + count, x.data() + 2 * count}, count, found.data());
    EXPECT_EQ(found, wanted) << count;
  }
}

}  // namespace
}  // namespace lacuna::kernels
