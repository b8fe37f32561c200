// Kernels by themselves: a single problem against the fastest dense library in one interleaved run, and what this machine can do at most.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/progress.h"

namespace lacuna {

struct KernelBenchOptions {
  int runs = 20;          // rounds; each round times every contender once
  int threads = 0;        // 0: all cores
  std::string candidate;  // the kernel to report; empty: the fastest (sparse, unless the pattern is dense)
  uint64_t seed = 1;      // of weights, masks and inputs
};

struct KernelTiming {
  std::string name;
  bool sparse = false, ours = true;
  double median_us = 0, spread_us = 0;  // half the distance of the quartiles
  double best_us = 0;
  double max_error = 0;  // max|a - b| / max|b| against the reference; ours only
  int64_t bytes = 0;     // packed weight; ours only
};

struct KernelReport {
  std::string problem, cpu, isa, kernel;  // isa: the level of LACUNA_ISA that the kernel needs
  int threads = 1, runs = 0;
  double sparsity = 0;  // as made
  double median_us = 0, spread_us = 0, max_error = 0;
  int64_t bytes = 0;
  std::string dense_library;  // the fastest dense of other libraries; of ours too with up to 8 tokens, or where no other takes the problem
  double dense_median_us = 0;
  double speedup = 0;     // dense over this kernel, median of the ratios of each round
  std::string own_dense;  // our fastest dense kernel, and this kernel against it
  double own_dense_median_us = 0, speedup_over_own_dense = 0;
  double best_us = 0, dense_best_us = 0;  // smallest of all rounds: what to look at on a loaded machine
  double floor_us = 0;                    // the larger of bytes over bandwidth (measured at that size in the same run) and operations over peak
  double floor_share = 0;                 // floor_us / median_us
  std::vector<KernelTiming> all;          // fastest first; candidates far behind are timed in three rounds only and left out
  std::vector<std::string> refusals;      // "avx512::...: the weight is dense"
};

// `problem` is one line of the problem language, for example
//   spmm s8 unstructured m=3072 k=768 n=128 sparsity=0.9     weights [m, k], n tokens; real masks by pattern=FILE.smtx
//   conv f32 unstructured ic=256 oc=256 k=3 h=14 w=14 n=1 sparsity=0.9
// Throws InvalidArgument on a word that it cannot read (named, with what was found and wanted) or a candidate that is unknown or refuses,
// NotFound or InvalidData on the mask file, Unsupported if a kernel's answer differs from the reference.
KernelReport bench_kernel(std::string_view problem, const KernelBenchOptions& options = {});

// Braces multiply: "m={768,3072} sparsity={0.5,0.9}" gives four problems. Throws InvalidArgument on a brace without its partner.
std::vector<std::string> expand_problems(std::string_view text);

struct MachineReport {
  std::string cpu, isa;
  int threads = 1;  // those of the figures "all"
  int64_t l1_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  double read_one_gb_s = 0, read_all_gb_s = 0;  // from DRAM, buffer of four times the L3 cache, at most 1 GiB
  // 10^9 multiplications and additions per second; 0 where the instructions are missing.
  double f32_one_gop_s = 0, f32_all_gop_s = 0;
  double bf16_one_gop_s = 0, bf16_all_gop_s = 0;          // vdpbf16ps
  double int8_one_gop_s = 0, int8_all_gop_s = 0;          // vpdpbusd, or vpmaddubsw and vpmaddwd
  double amx_bf16_one_gop_s = 0, amx_bf16_all_gop_s = 0;  // tdpbf16ps
  double amx_int8_one_gop_s = 0, amx_int8_all_gop_s = 0;  // tdpbssd
};

// Takes a few seconds. Uses the instruction sets that LACUNA_ISA leaves and all threads.
MachineReport measure_machine();

std::string to_json(const KernelReport& report);
std::string to_json(const std::vector<KernelReport>& reports);
std::string to_json(const MachineReport& report);

}  // namespace lacuna
