// The halves of `lacuna bench` that need no model.
#pragma once

#include <string>
#include <vector>

namespace lacuna::cli {

struct KernelBenchArguments {
  std::vector<std::string> problems;  // braces multiply
  std::vector<int> threads;           // empty: all cores
  std::string candidate;
  int runs = 20;
  bool all = false;  // every contender
};
void bench_kernels(const KernelBenchArguments& arguments, bool json);

void bench_machine(bool json);

}  // namespace lacuna::cli
