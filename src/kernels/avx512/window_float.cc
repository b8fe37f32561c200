#include "kernels/inner/window_float.h"

#include <immintrin.h>

namespace lacuna::kernels::avx512 {
namespace {

constexpr int64_t kAhead = 12288;  // bytes that the stream is fetched ahead by: the hardware stops at the end of a page

struct Weights {
  __m512 first, second;
};

struct F32 {
  static constexpr int64_t kBytes = 128;
  static Weights load(const std::byte* p) { return {_mm512_loadu_ps(p), _mm512_loadu_ps(p + 64)}; }
};

struct Bf16 {
  static constexpr int64_t kBytes = 64;
  static Weights load(const std::byte* p) {
    __m512i both = _mm512_loadu_si512(p);
    return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)), _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))))};
  }
};

struct F16 {
  static constexpr int64_t kBytes = 64;
  static __m512 half(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Weights load(const std::byte* p) { return {half(p), half(p + 32)}; }
};

// Columns of a window, and which of them lie in the odd 32 of their 64, and in the last 64.
template <int window>
struct Index {
  __m512i columns;
  __mmask16 odd, high = 0;
  explicit Index(const std::byte* p) : columns(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))) {
    odd = _mm512_test_epi32_mask(columns, _mm512_set1_epi32(32));
    if constexpr (window == 128) high = _mm512_test_epi32_mask(columns, _mm512_set1_epi32(64));
  }
  __m512 gathered(const float* x) const {
    auto pair = [&](int64_t at) { return _mm512_permutex2var_ps(_mm512_loadu_ps(x + at), columns, _mm512_loadu_ps(x + at + 16)); };
    __m512 low = _mm512_mask_blend_ps(odd, pair(0), pair(32));
    if constexpr (window == 64) return low;
    return _mm512_mask_blend_ps(high, low, _mm512_mask_blend_ps(odd, pair(64), pair(96)));
  }
};

template <class Values, int window, int T>
void run_tokens(const WindowTask& task) {
  const std::byte* stream = task.stream;
  __m512 first[T], second[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) first[t] = second[t] = _mm512_setzero_ps();
  for (int64_t step = 0; step < task.steps; step++, stream += kWindowIndexBytes + Values::kBytes) {
    const float* x = task.x + task.bases[step] * kWindowAlign;
    const Index<window> a(stream), b(stream + 16);
    const Weights w = Values::load(stream + kWindowIndexBytes);
    __builtin_prefetch(stream + kAhead, 0, 1);
    __builtin_prefetch(stream + kAhead + 64, 0, 1);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      first[t] = _mm512_fmadd_ps(w.first, a.gathered(x + t * task.x_stride), first[t]);
      second[t] = _mm512_fmadd_ps(w.second, b.gathered(x + t * task.x_stride), second[t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) _mm512_storeu_ps(task.sums + t * kWindowRows, _mm512_add_ps(first[t], second[t]));
}

template <class Values, int window>
void run(const WindowTask& task) noexcept {
  switch (task.tokens) {
    case 1: return run_tokens<Values, window, 1>(task);
    case 2: return run_tokens<Values, window, 2>(task);
    case 4: return run_tokens<Values, window, 4>(task);
    default: return run_tokens<Values, window, 8>(task);
  }
}

}  // namespace

const WindowFloatLoops kWindowFloat = {
    .f32 = {run<F32, 64>, run<F32, 128>}, .bf16 = {run<Bf16, 64>, run<Bf16, 128>}, .f16 = {run<F16, 64>, run<F16, 128>}};

}  // namespace lacuna::kernels::avx512
