// What every pattern must do, and the quality each has on the textbook's experiment.
#include "sparse/pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <thread>

#include "base/parallel.h"
#include "sparse/select.h"
#include "sparse/testing.h"

namespace lacuna {
namespace {
using namespace testing;

struct Scores {
  int64_t rows, cols;
  std::vector<float> values;
  operator ConstMatrixRef() const { return {values.data(), rows, cols, cols}; }
  float at(int64_t r, int64_t c) const { return values[size_t(r * cols + c)]; }
};

// `levels` distinct values: few make many ties.
Scores random_scores(int64_t rows, int64_t cols, int64_t levels, uint64_t seed) {
  Scores scores{rows, cols, std::vector<float>(size_t(rows * cols))};
  Rng rng(seed);
  for (float& v : scores.values) v = float(rng.below(levels)) / 7.0f;
  return scores;
}

// The first `kept` in order of score, then index.
std::vector<bool> naive_best(const std::vector<double>& scores, int64_t kept) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::vector<bool> keep(scores.size(), false);
  for (int64_t i = 0; i < kept; i++) keep[order[size_t(i)]] = true;
  return keep;
}

TEST(Patterns, KnowTheirSpellings) {
  constexpr std::pair<const char*, const char*> kSpellings[] = {{"unstructured", "unstructured"},
                                                                {"0:0", "unstructured"},
                                                                {"2:4", "2:4"},
                                                                {"16:64", "16:64"},
                                                                {"block:4x1", "block:4x1"},
                                                                {"4x1", "block:4x1"},
                                                                {"block4x1", "block:4x1"},
                                                                {"block4", "block:1x4"},
                                                                {"block:4", "block:1x4"},
                                                                {"block:16x32", "block:16x32"}};
  for (auto [text, name] : kSpellings) EXPECT_EQ(parse_pattern(text)->name(), name) << text;
  for (const char* bad : {"", "4:2", "4:4", "0:4", "2:", ":4", "2:4x", "2:99999999999999999999", "2:70000", "-2:4", "block", "block:", "block:0x4",
                          "4x", "x4", "block:4x1x1", "4", "5000x1", "banded"})
    EXPECT_THROW(parse_pattern(bad), InvalidArgument) << bad;
  EXPECT_DOUBLE_EQ(*parse_pattern("2:16")->fixed_sparsity(), 0.875);
  EXPECT_EQ(parse_pattern("block:4x1")->fixed_sparsity(), std::nullopt);
}

TEST(Patterns, AnUnknownSpellingListsTheKnownOnes) {
  try {
    parse_pattern("banded");
    FAIL();
  } catch (const InvalidArgument& error) {
    for (const char* part : {"'banded'", "'unstructured'", "'2:4'", "'block:4x1'"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Patterns, UnstructuredKeepsTheBestOfANaiveSort) {
  auto pattern = parse_pattern("unstructured");
  for (auto [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 65}, {64, 64}, {129, 77}, {3, 300000}})
    for (int64_t levels : {int64_t(2), int64_t(50), int64_t(1) << 40})
      for (double density : {0.0, 0.1, 0.5, 1.0}) {
        Scores scores = random_scores(rows, cols, levels, 3);
        auto kept = int64_t(std::llround(density * double(rows * cols)));
        Mask mask = pattern->select(scores, cols, kept, false);
        auto expected = naive_best({scores.values.begin(), scores.values.end()}, kept);
        for (int64_t i = 0; i < rows * cols; i++)
          ASSERT_EQ(mask.kept(i / cols, i % cols), expected[size_t(i)]) << rows << "x" << cols << " levels=" << levels << " at " << i;
      }
}

TEST(Patterns, NegativeScoresRankBelowZeroAndNanBelowAll) {
  Scores scores{1, 5, {-1, 0, std::nanf(""), -0.0f, 2}};
  EXPECT_EQ(parse_pattern("unstructured")->select(scores, 5, 3, false).row(0)[0], 0b11010u);
  EXPECT_EQ(parse_pattern("unstructured")->select(scores, 5, 2, false).row(0)[0], 0b10010u);  // 0 and -0 tie
  EXPECT_EQ(parse_pattern("unstructured")->select(scores, 5, 4, false).row(0)[0], 0b11011u);
}

TEST(Patterns, NOfMKeepsTheBestOfEveryGroup) {
  for (const char* name : {"2:4", "1:4", "4:8", "8:16", "4:16", "2:16", "4:32", "16:64", "32:64", "3:5", "100:200"})
    for (auto [cols, inner] : {std::pair<int64_t, int64_t>{256, 256}, {201, 201}, {450, 225}}) {
      Scores scores = random_scores(9, cols, 6, 4);
      auto pattern = parse_pattern(name);
      Mask mask = pattern->select(scores, inner, 0, false);
      EXPECT_EQ(pattern->violations(mask, inner), 0) << name;
      int64_t n = std::atoi(name), m = std::atoi(strchr(name, ':') + 1);
      for (int64_t r = 0; r < 9; r++)
        for (int64_t stretch = 0; stretch < cols; stretch += inner)
          for (int64_t col = 0; col < inner; col += m) {
            int64_t length = std::min(m, inner - col);
            std::vector<double> group;
            for (int64_t i = 0; i < length; i++) group.push_back(scores.at(r, stretch + col + i));
            auto expected = naive_best(group, (n * length + m - 1) / m);
            for (int64_t i = 0; i < length; i++)
              ASSERT_EQ(mask.kept(r, stretch + col + i), expected[size_t(i)])
                  << name << " cols=" << cols << " row=" << r << " col=" << stretch + col + i;
          }
    }
}

TEST(Patterns, BlocksKeepTheBestUnits) {
  for (auto [high, wide] : {std::pair<int64_t, int64_t>{1, 4}, {4, 1}, {4, 4}, {3, 5}, {16, 100}})
    for (bool l2 : {false, true})
      for (auto [cols, inner] : {std::pair<int64_t, int64_t>{64, 64}, {65, 65}, {66, 22}}) {
        Scores scores = random_scores(18, cols, 1000, 5);
        auto pattern = parse_pattern(cat("block:", high, "x", wide));
        std::vector<double> units;
        std::vector<std::vector<std::pair<int64_t, int64_t>>> members;
        for (int64_t r = 0; r < 18; r += high)
          for (int64_t stretch = 0; stretch < cols; stretch += inner)
            for (int64_t col = 0; col < inner; col += wide) {
              double sum = 0;
              members.emplace_back();
              for (int64_t i = r; i < std::min<int64_t>(18, r + high); i++)
                for (int64_t j = stretch + col; j < stretch + std::min(inner, col + wide); j++) {
                  sum += l2 ? std::pow(double(scores.at(i, j)), 2) : double(scores.at(i, j));
                  members.back().emplace_back(i, j);
                }
              double mean = sum / double(members.back().size());  // so that a block cut off at an edge is not taken for its size
              units.push_back(float(l2 ? std::sqrt(mean) : mean));
            }
        ASSERT_EQ(int64_t(units.size()), pattern->unit_rows(18) * pattern->unit_cols(cols, inner));
        auto kept = int64_t(units.size()) / 3;
        Mask mask = pattern->select(scores, inner, kept, l2);
        EXPECT_EQ(pattern->violations(mask, inner), 0);
        auto expected = naive_best(units, kept);
        for (size_t u = 0; u < units.size(); u++)
          for (auto [r, c] : members[u])
            ASSERT_EQ(mask.kept(r, c), expected[u]) << pattern->name() << " l2=" << l2 << " cols=" << cols << " at " << r << "," << c;
      }
}

TEST(Patterns, DenormalScoresKeepTheirOrderWhateverTheThreadDoesWithThem) {
  const int64_t rows = 600, cols = 1000;  // several tiles
  std::vector<float> values(size_t(rows * cols));
  for (size_t i = 0; i < values.size(); i++) values[i] = std::bit_cast<float>(uint32_t((i * 7919) % 8000000));  // below 2^23: denormal
  Scores scores{rows, cols, values};
  int before = thread_count();
  Mask masks[2];
  for (int flushed = 0; flushed < 2; flushed++) {
    set_thread_count(2);
    auto select = [&] { masks[flushed] = keep_best(scores, rows * cols / 2); };
    if (!flushed)
      select();
    else
      std::thread([&] { flush_denormals(), select(); }).join();
  }
  set_thread_count(before);
  EXPECT_EQ(masks[0].count_kept(), rows * cols / 2);
  for (int64_t r = 0; r < rows; r++) ASSERT_TRUE(std::ranges::equal(masks[0].row(r), masks[1].row(r))) << r;
}

TEST(Patterns, RemovedWeightsAddNothingToTheirBlock) {
  Scores scores{1, 8, {-1, -1, -1, -1, 0, -1, 0, 0}};
  EXPECT_EQ(parse_pattern("block4")->select(scores, 8, 1, false).row(0)[0], 0xf0u);
  Tensor units = parse_pattern("block4")->unit_scores(scores, 8, true);
  EXPECT_EQ(units.data<float>()[0], -1);
  EXPECT_EQ(units.data<float>()[1], 0);
}

TEST(Patterns, CountViolations) {
  Mask mask(2, 8, false);
  for (int64_t c : {0, 1, 2, 4, 5}) mask.set(1, c, true);
  EXPECT_EQ(parse_pattern("2:4")->violations(mask, 8), 1);
  EXPECT_EQ(parse_pattern("1:4")->violations(mask, 8), 2);
  EXPECT_EQ(parse_pattern("4:8")->violations(mask, 8), 1);
  EXPECT_EQ(parse_pattern("block:1x4")->violations(mask, 8), 2);
  EXPECT_EQ(parse_pattern("block:2x1")->violations(mask, 8), 5);
  EXPECT_EQ(parse_pattern("unstructured")->violations(mask, 8), 0);
  // Groups restart with each kernel position: columns 0-2 and 3-5 here.
  Mask conv(1, 6, false);
  for (int64_t c : {2, 3}) conv.set(0, c, true);
  EXPECT_EQ(parse_pattern("1:3")->violations(conv, 3), 0);
  EXPECT_EQ(parse_pattern("1:6")->violations(conv, 6), 1);
}

TEST(Patterns, AreObeyedWhereNothingViolatesThem) {
  for (int64_t rows : {1, 17, 64})
    for (const char* name : {"unstructured", "2:4", "8:16", "32:64", "block:4x4", "block:1x16", "block:16x1"})
      for (const char* other : {"2:4", "8:16", "32:64", "block:4x4", "block:1x16", "block:16x1", "block:2x2"}) {
        auto pattern = parse_pattern(name);
        Mask mask =
            pattern->select(random_scores(rows, 96, int64_t(1) << 40, 6), 48, pattern->unit_rows(rows) * pattern->unit_cols(96, 48) / 3, false);
        EXPECT_TRUE(pattern->obeyed_by(mask, 48)) << name;
        EXPECT_EQ(parse_pattern(other)->obeyed_by(mask, 48), parse_pattern(other)->violations(mask, 48) == 0) << name << " as " << other;
        mask.set(rows - 1, 95, !mask.kept(rows - 1, 95));
        EXPECT_EQ(pattern->obeyed_by(mask, 48), pattern->violations(mask, 48) == 0) << name;
      }
}

TEST(Patterns, NOfMRefusesNarrowInputs) {
  EXPECT_EQ(parse_pattern("2:4")->refuses(16, 27, 3), "its input dimension of 3 is narrower than M = 4 of 2:4");
  EXPECT_EQ(parse_pattern("2:4")->refuses(16, 36, 4), std::nullopt);
}

TEST(Patterns, BlocksRefuseMatricesSmallerThanOne) {
  EXPECT_EQ(parse_pattern("block:1x4")->refuses(16, 27, 3), "its input dimension of 3 is narrower than the 4 columns of block:1x4");
  EXPECT_EQ(parse_pattern("block:4x1")->refuses(3, 64, 64), "its 3 rows are fewer than the 4 of block:4x1");
  EXPECT_EQ(parse_pattern("block:4x4")->refuses(5, 6, 6), std::nullopt);  // the last blocks are cut off
}

TEST(RecognisePattern, NamesTheStrictest) {
  auto recognised = [](const char* name, int64_t cols, int64_t inner, double density) {
    Scores scores = random_scores(64, cols, int64_t(1) << 40, 6);
    auto pattern = parse_pattern(name);
    auto kept = int64_t(density * double(pattern->unit_rows(64) * pattern->unit_cols(cols, inner)));
    return recognise_pattern(pattern->select(scores, inner, kept, false), inner);
  };
  for (const char* name : {"2:4", "1:4", "4:8", "8:16", "4:16", "2:16", "4:32", "16:64", "32:64"}) EXPECT_EQ(recognised(name, 256, 256, 0), name);
  for (const char* name : {"block:1x4", "block:4x1", "block:4x4", "block:16x16", "block:2x2"}) EXPECT_EQ(recognised(name, 252, 84, 0.5), name);
  for (double density : {0.5, 0.2, 0.1, 0.05, 0.02, 0.005, 0.001})  // most of these obey 8:16, 4:8 ... by chance
    for (int64_t inner : {250, 50}) EXPECT_EQ(recognised("unstructured", 250, inner, density), "unstructured") << density;
  EXPECT_EQ(recognise_pattern(Mask(4, 16, true), 16), "dense");
  EXPECT_EQ(recognise_pattern(Mask(4, 16, false), 16), "unstructured");
}

// A two-dimensional float64 array of NumPy's .npy files, version 1.0; empty if there is no such file.
Scores read_npy(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  std::string text = read_text_file(path);
  size_t header = size_t(uint8_t(text[8])) + size_t(uint8_t(text[9])) * 256, shape = text.find("'shape': (");
  Scores out;
  out.rows = std::atoll(text.c_str() + shape + 10);
  out.cols = std::atoll(text.c_str() + text.find(',', shape + 10) + 1);
  const char* at = text.data() + 10 + header;
  for (int64_t i = 0; i < out.rows * out.cols; i++) {
    double v;
    memcpy(&v, at + i * 8, 8);
    out.values.push_back(float(v));
  }
  return out;
}

// ||X (W - W')^T|| / ||X W^T||, Frobenius. Through X^T X, which is small: ||X D^T||^2 = sum over rows d of d^T (X^T X) d.
class OutputError {
 public:
  OutputError(const Scores& inputs, const Scores& weight) : n_(size_t(inputs.cols)), gram_(n_ * n_, 0), weight_(weight), all_(0) {
    for (int64_t t = 0; t < inputs.rows; t++)
      for (size_t i = 0; i < n_; i++)
        for (size_t j = 0; j < n_; j++) gram_[i * n_ + j] += double(inputs.values[size_t(t) * n_ + i]) * double(inputs.values[size_t(t) * n_ + j]);
    all_ = energy([](int64_t, int64_t) { return true; });
  }
  double operator()(const Mask& mask) const {
    return std::sqrt(energy([&](int64_t r, int64_t c) { return !mask.kept(r, c); }) / all_);
  }

 private:
  template <class F>
  double energy(F&& counts) const {
    double sum = 0;
    for (int64_t r = 0; r < weight_.rows; r++)
      for (size_t i = 0; i < n_; i++)
        for (size_t j = 0; j < n_; j++)
          if (counts(r, int64_t(i)) && counts(r, int64_t(j)))
            sum += double(weight_.at(r, int64_t(i))) * gram_[i * n_ + j] * double(weight_.at(r, int64_t(j)));
    return sum;
  }
  size_t n_;
  std::vector<double> gram_;
  const Scores& weight_;
  double all_;
};

TEST(PruningFigure, HasTheTextbooksNumbers) {
  std::filesystem::path folder = LACUNA_SOURCE_DIR "/../shared/data/pruning-figure";
  Scores weight = read_npy(folder / "weight_256x256_f64.npy"), inputs = read_npy(folder / "inputs_4096x256_f64.npy");
  if (weight.values.empty() || inputs.values.empty()) GTEST_SKIP() << "no " << folder;
  OutputError error(inputs, weight);
  Scores magnitude = weight, random = random_scores(256, 256, int64_t(1) << 40, 1);
  for (float& v : magnitude.values) v = std::abs(v);
  auto unstructured = parse_pattern("unstructured");
  auto kept = [](double sparsity) { return int64_t(std::llround((1 - sparsity) * 256 * 256)); };
  // The published numbers drop everything up to sorted[k], k = sparsity * count, which is k + 1 weights; with exactly k, 0.2687 is 0.2686.
  constexpr std::pair<double, double> kMagnitude[] = {{0.25, 0.0921}, {0.50, 0.2687}, {0.75, 0.5270}, {0.90, 0.7475}};
  for (auto [sparsity, expected] : kMagnitude) {
    EXPECT_NEAR(error(unstructured->select(magnitude, 256, kept(sparsity) - 1, false)), expected, 0.00005) << sparsity;
    EXPECT_NEAR(error(unstructured->select(magnitude, 256, kept(sparsity), false)), expected, 0.0001) << sparsity;
  }
  EXPECT_NEAR(error(parse_pattern("2:4")->select(magnitude, 256, 0, false)), 0.3648, 0.00005);
  EXPECT_NEAR(error(parse_pattern("8:16")->select(magnitude, 256, 0, false)), 0.298, 0.0005);
  EXPECT_NEAR(error(parse_pattern("block:1x4")->select(magnitude, 256, kept(0.5) / 4, true)), 0.485, 0.002);
  EXPECT_NEAR(error(unstructured->select(random, 256, kept(0.5), false)), 0.70, 0.01);
}

}  // namespace
}  // namespace lacuna
