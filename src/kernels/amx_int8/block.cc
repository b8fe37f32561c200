// The inner loops of integer/amx_block.h.
#include <immintrin.h>

#include "kernels/integer/amx.h"
#include "kernels/integer/amx_block.h"

namespace lacuna::kernels::amx_int8 {
namespace {

#include "kernels/inner/tile_config.inl"
#include "kernels/inner/vec512.inl"
// After the vector.
#include "kernels/inner/activations.inl"

enum class Activated { kNot, kGelu, kAny };
constexpr uint8_t kPlain = 0, kGelu = 3;  // of Activation in linear.h, as in activations.inl

// The outputs of a block, some tokens at a time. All it reads again lies in registers: what is stored might otherwise be what it reads.
template <Activated kActivated>
class Outputs {
 public:
  explicit Outputs(const AmxOutputs& o)
      : sums_(o.sums),
        x_scales_(o.x_scales),
        residual_(o.residual),
        y_(o.y),
        y_stride_(o.y_stride),
        residual_stride_(o.residual_stride),
        left_(o.tokens),
        activation_(o.activation),
        alpha_(o.alpha),
        beta_(o.beta) {
    for (int g = 0; g < 2; g++) {
      scale_[g] = _mm512_loadu_ps(o.scales + 16 * g);
      bias_[g] = o.bias ? _mm512_loadu_ps(o.bias + 16 * g) : _mm512_set1_ps(-0.0f);  // which adds nothing, not to -0 either
      excess_[g] = o.excess ? _mm512_loadu_si512(o.excess + 16 * g) : _mm512_setzero_si512();
    }
  }
  [[gnu::always_inline]] void step(int64_t tokens) {
    tokens = tokens < left_ ? tokens : left_;
    left_ -= tokens;
    for (; tokens > 0; tokens--) {
      __m512 by = _mm512_set1_ps(*x_scales_++);
#pragma GCC unroll 2
      for (int g = 0; g < 2; g++) {
        __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums_ + g * kAmxBlockTokens * 16), excess_[g]);
        __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale_[g]), by), bias_[g]);
        if (residual_) v = _mm512_add_ps(v, _mm512_loadu_ps(residual_ + 16 * g));
        if constexpr (kActivated == Activated::kGelu) v = gelu_of({v}).v;
        if constexpr (kActivated == Activated::kAny) v = activated({v}, activation_, alpha_, beta_).v;
        _mm512_storeu_ps(y_ + 16 * g, v);
      }
      sums_ += 16;
      y_ += y_stride_;
      if (residual_) residual_ += residual_stride_;
    }
  }

 private:
  const int32_t* sums_;
  const float *x_scales_, *residual_;
  float* y_;
  int64_t y_stride_, residual_stride_, left_;
  uint8_t activation_;
  float alpha_, beta_;
  __m512 scale_[2], bias_[2];
  __m512i excess_[2];
};

template <class Use>
void with_outputs(const AmxOutputs& o, const Use& use) {
  if (o.activation == kPlain) return use(Outputs<Activated::kNot>(o));
  if (o.activation == kGelu) return use(Outputs<Activated::kGelu>(o));
  use(Outputs<Activated::kAny>(o));
}

struct NoOutputs {
  [[gnu::always_inline]] void step(int64_t) {}
};

class Expansion {
 public:
  explicit Expansion(AmxExpansion& e) : e_(e), at_(e.streams[0]), left_(e.units[0]), tiles_(e.tiles) {}
  ~Expansion() { e_.streams[0] = at_, e_.units[0] = left_, e_.tiles = tiles_; }
  void step(int64_t units) {
    for (; units > 0 && left_ > 0; units--) {
      const Word64* masks = reinterpret_cast<const Word64*>(at_);
      at_ += 64;
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) {
        _mm512_store_si512(tiles_ + 64 * i, _mm512_maskz_expand_epi8(masks[i], _mm512_loadu_si512(at_)));
        at_ += __builtin_popcountll(masks[i]);
      }
      tiles_ += 512;
      if (--left_ > 0) continue;
      at_ = e_.streams[1], left_ = e_.units[1];
      e_.units[1] = 0;
    }
  }

 private:
  AmxExpansion& e_;
  const uint8_t* at_;
  int64_t left_;
  uint8_t* tiles_;
};

struct NoExpansion {
  void step(int64_t) {}
};

// What is fetched while a block is multiplied: weights of later blocks, and the lines that this block's outputs will be written to.
class Fetch {
 public:
  Fetch(const AmxBlock& block, const AmxOutputs* after) : weights_(block.ahead), end_(block.ahead + 64 * block.ahead_lines), after_(after) {
    lines_ = (block.ahead_lines + block.chunks - 1) / block.chunks;
  }
  void step(int64_t tokens) {
    for (int64_t i = 0; i < lines_ && weights_ < end_; i++, weights_ += 64) _mm_prefetch(reinterpret_cast<const char*>(weights_), _MM_HINT_T1);
    if (!after_) return;
    for (int64_t end = t_ + tokens < after_->tokens ? t_ + tokens : after_->tokens; t_ < end; t_++) {
      __builtin_prefetch(after_->y + t_ * after_->y_stride, 1, 2);
      __builtin_prefetch(after_->y + t_ * after_->y_stride + 16, 1, 2);
    }
  }

 private:
  const uint8_t *weights_, *end_;
  const AmxOutputs* after_;
  int64_t lines_, t_ = 0;
};

// Tiles 0 to 3 hold sums, 4 and 5 tokens, 6 and 7 weights.
template <class Before, class Expanding>
[[gnu::always_inline]] inline void two_token_tiles(const AmxBlock& b, Before& before, Expanding& expanding, Fetch& fetch) {
  // Outputs with each step but the first two: the sums of the block before are not in the cache until its last products are done.
  int64_t start = b.chunks > 4 ? 2 : 0, tokens = (kAmxBlockTokens + b.chunks - start - 1) / (b.chunks - start);
  const uint8_t *x0 = b.x, *x1 = b.x + 16 * b.x_stride, *w0 = b.weights[0], *w1 = b.weights[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < b.chunks; i++, x0 += 64, x1 += 64, w0 += kAmxTile, w1 += kAmxTile) {
    _tile_stream_loadd(4, x0, b.x_stride);
    _tile_loadd(6, w0, 64);
    _tile_loadd(7, w1, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_stream_loadd(5, x1, b.x_stride);
    _tile_dpbssd(1, 4, 7);
    fetch.step(tokens);
    if (i >= start) before.step(tokens);
    expanding.step(b.units);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  before.step(kAmxBlockTokens);
  _tile_stored(0, b.sums, 64);
  _tile_stored(1, b.sums + 512, 64);
  _tile_stored(2, b.sums + 256, 64);
  _tile_stored(3, b.sums + 768, 64);
}

void add_tile(int32_t* sums, const int32_t* more) {
  for (int r = 0; r < 256; r += 16) _mm512_store_si512(sums + r, _mm512_add_epi32(_mm512_load_si512(sums + r), _mm512_load_si512(more + r)));
}

// Products of one tile follow each other every 52 cycles: even and odd chunks have their own sums.
template <class Before, class Expanding>
[[gnu::always_inline]] inline void one_token_tile(const AmxBlock& b, Before& before, Expanding& expanding, Fetch& fetch) {
  int64_t tokens = (kAmxBlockTokens + b.chunks - 1) / b.chunks;
  const uint8_t *x = b.x, *w0 = b.weights[0], *w1 = b.weights[1];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < b.chunks; i++, x += 64, w0 += kAmxTile, w1 += kAmxTile) {
    if (i % 2 == 0) {
      _tile_loadd(4, x, b.x_stride);
      _tile_loadd(6, w0, 64);
      _tile_loadd(7, w1, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 4, 7);
    } else {
      _tile_loadd(5, x, b.x_stride);
      _tile_loadd(6, w0, 64);
      _tile_loadd(7, w1, 64);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
    fetch.step(tokens);
    before.step(tokens);
    expanding.step(b.units);
  }
  before.step(kAmxBlockTokens);
  alignas(64) int32_t odd[2][256];
  _tile_stored(0, b.sums, 64);
  _tile_stored(1, b.sums + 512, 64);
  _tile_stored(2, odd[0], 64);
  _tile_stored(3, odd[1], 64);
  add_tile(b.sums, odd[0]);
  add_tile(b.sums + 512, odd[1]);
}

template <class Before, class Expanding>
void multiply(const AmxBlock& b, Before before, Expanding expanding, const AmxOutputs* after) {
  Fetch fetch(b, after);
  if (b.token_tiles == 2)
    two_token_tiles(b, before, expanding, fetch);
  else
    one_token_tile(b, before, expanding, fetch);
}

template <class Before>
void multiply(const AmxBlock& b, Before before, const AmxOutputs* after) {
  if (!b.expansion) return multiply(b, before, NoExpansion(), after);
  Expansion expanding(*b.expansion);
  multiply<Before, Expansion&>(b, before, expanding, after);
}

}  // namespace

void configure_tiles() noexcept { _tile_loadconfig(&kTileConfig); }
void release_tiles() noexcept { _tile_release(); }

void multiply_block(const AmxBlock& block, const AmxOutputs* before, const AmxOutputs* after) noexcept {
  if (!before) return multiply(block, NoOutputs(), after);
  with_outputs(*before, [&](auto outputs) { multiply(block, outputs, after); });
}

void store_block(const AmxOutputs& outputs) noexcept {
  with_outputs(outputs, [](auto all) { all.step(kAmxBlockTokens); });
}

void expand(AmxExpansion& expansion, int64_t units) noexcept { Expansion(expansion).step(units); }

}  // namespace lacuna::kernels::amx_int8
