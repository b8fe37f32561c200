// Cosines and sines of the positions of a run, shared by all rope nodes of a Program with the same positions and frequencies.
#pragma once

#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace lacuna {

struct RopeTable {
  int64_t run = -1;  // the run it was made for
  // [tokens, rotary_dim / 2]; for interleaved pairs [tokens, rotary_dim]: cosines twice, sines negated and plain
  std::vector<float> cosine, sine;
};

class RopeTables {
 public:
  RopeTables(const std::vector<double>& frequencies, double factor, bool interleaved)
      : frequencies_(frequencies.begin(), frequencies.end()), factor_(float(factor)), interleaved_(interleaved) {}
  const RopeTable& table(const Tensor& positions, int64_t tokens, int64_t run);

 private:
  std::vector<float> frequencies_;
  float factor_;
  bool interleaved_;
  RopeTable table_;
};

}  // namespace lacuna
