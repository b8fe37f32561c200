// Sentence similarity: rank correlation of cosine with human scores.
#pragma once

#include <span>
#include <vector>

namespace lacuna {

// Spearman's rank correlation, ties get the mean rank. Throws InvalidArgument on sizes that differ or are below 2.
double spearman(std::span<const double> a, std::span<const double> b);
double cosine(std::span<const float> a, std::span<const float> b);

}  // namespace lacuna
