#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

// What the two spellings state, in one place.
struct Parameters {
  std::string type = "default";
  double theta = 10000, partial = 1;
  std::optional<Config> scaling;  // factor and the like
  int64_t max_positions = 0, original_max_positions = 0;
};

Parameters read_parameters(const Config& config, const RopeDefaults& defaults) {
  Parameters p;
  p.scaling = config.object("rope_parameters");
  if (auto old = config.object("rope_scaling"); old && !old->keys().empty()) p.scaling = old;
  p.theta = config.number("rope_theta", config.number("rotary_emb_base", defaults.theta));
  p.partial = config.number("partial_rotary_factor", config.number("rotary_pct", defaults.partial_rotary_factor));
  p.max_positions = p.original_max_positions = config.integer("max_position_embeddings", 2048);
  if (p.scaling) {
    for (const char* layer_type : {"full_attention", "sliding_attention"}) {
      if (p.scaling->has(layer_type))
        throw Unsupported(cat(p.scaling->source(), ": states other rotations for layers of type '", layer_type, "'; one for all layers is read"));
    }
    p.type = p.scaling->text("rope_type", p.scaling->text("type", "default"));
    p.theta = p.scaling->number("rope_theta", p.theta);
    p.partial = p.scaling->number("partial_rotary_factor", p.partial);
    p.original_max_positions = p.scaling->integer("original_max_position_embeddings", p.max_positions);
  }
  p.original_max_positions = config.integer("original_max_position_embeddings", p.original_max_positions);
  return p;
}

std::vector<float> default_frequencies(double theta, int64_t dim) {
  std::vector<float> out;
  for (int64_t i = 0; i < dim; i += 2) out.push_back(1.0f / std::pow(float(theta), float(i) / float(dim)));
  return out;
}

// Bloc97 and Peng et al. 2023, arXiv:2309.00071: low frequencies interpolated, high ones kept, a ramp between.
void yarn(Rope& rope, const Parameters& p, std::vector<float>& frequencies) {
  const Config& s = *p.scaling;
  double factor = s.number("factor", double(p.max_positions) / double(p.original_max_positions));
  auto mscale = [](double scale, double m) { return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0; };
  double m = s.number("mscale", 0), m_all = s.number("mscale_all_dim", 0);
  rope.attention_factor = s.number("attention_factor", m != 0 && m_all != 0 ? mscale(factor, m) / mscale(factor, m_all) : mscale(factor, 1));
  auto or_default = [&](const char* key, double fallback) { return s.number(key, 0) != 0 ? s.number(key) : fallback; };
  double dim = double(rope.rotary_dim);
  auto correction = [&](double rotations) {
    return dim * std::log(double(p.original_max_positions) / (rotations * 2 * std::numbers::pi)) / (2 * std::log(p.theta));
  };
  double low = correction(or_default("beta_fast", 32)), high = correction(or_default("beta_slow", 1));
  if (s.flag("truncate", true)) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); i++) {
    float ramp = std::clamp((float(i) - float(low)) / float(high - low), 0.0f, 1.0f), keep = 1 - ramp;
    float period = std::pow(float(p.theta), float(2 * i) / float(rope.rotary_dim));
    frequencies[i] = 1.0f / (float(factor) * period) * (1 - keep) + 1.0f / period * keep;
  }
}

void llama3(const Parameters& p, std::vector<float>& frequencies) {
  const Config& s = *p.scaling;
  double factor = s.number("factor"), low = s.number("low_freq_factor"), high = s.number("high_freq_factor"),
         context = double(p.original_max_positions);
  if (!(high > low)) throw InvalidData(cat(s.source(), ": high_freq_factor is ", high, ", more than low_freq_factor ", low, " wanted"));
  for (float& f : frequencies) {
    float wavelength = float(2 * std::numbers::pi) / f;
    if (double(wavelength) > context / low) {
      f /= float(factor);
    } else if (!(double(wavelength) < context / high)) {
      float smooth = (float(context) / wavelength - float(low)) / float(high - low);
      f = (1 - smooth) * f / float(factor) + smooth * f;
    }
  }
}

// Ding et al. 2024, arXiv:2402.13753, with the factors of contexts up to the original maximum.
void longrope(Rope& rope, const Parameters& p, std::vector<float>& frequencies) {
  const Config& s = *p.scaling;
  auto factors = s.numbers("short_factor");
  if (factors.size() != frequencies.size())
    throw InvalidData(cat(s.source(), ": short_factor has ", factors.size(), " entries, ", frequencies.size(), " wanted"));
  double factor = s.number("factor", double(p.max_positions) / double(p.original_max_positions));
  rope.attention_factor =
      s.number("attention_factor", factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(double(p.original_max_positions))));
  for (size_t i = 0; i < frequencies.size(); i++)
    frequencies[i] = 1.0f / (float(factors[i]) * std::pow(float(p.theta), float(2 * i) / float(rope.rotary_dim)));
}

}  // namespace

Rope read_rope(const Config& config, int64_t head_dim, RopeDefaults defaults) {
  Parameters p = read_parameters(config, defaults);
  if (!defaults.allow_partial && p.partial != 1)
    throw Unsupported(cat(config.source(), ": partial_rotary_factor is ", p.partial, "; Lacuna runs this family with 1 only"));
  if (!(p.partial > 0 && p.partial <= 1))
    throw InvalidData(cat(config.source(), ": partial_rotary_factor is ", p.partial, ", more than 0 and at most 1 wanted"));
  if (!(p.theta > 1)) throw InvalidData(cat(config.source(), ": rope_theta is ", p.theta, ", more than 1 wanted"));
  Rope rope{.rotary_dim = int64_t(double(head_dim) * p.partial), .theta = p.theta};
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0)
    throw InvalidData(cat(config.source(), ": ", rope.rotary_dim, " dimensions of a head rotate, an even number from 2 wanted"));
  if (p.type == "default" || p.type == "dynamic") return rope;
  std::vector<float> frequencies = default_frequencies(p.theta, rope.rotary_dim);
  if (p.type == "linear") {
    for (float& f : frequencies) f /= float(p.scaling->number("factor"));
  } else if (p.type == "llama3") {
    llama3(p, frequencies);
  } else if (p.type == "yarn") {
    yarn(rope, p, frequencies);
  } else if (p.type == "longrope" || p.type == "su") {
    longrope(rope, p, frequencies);
  } else {
    throw Unsupported(cat(p.scaling->source(), ": rope_type is '", p.type, "', known are default, linear, dynamic, llama3, yarn, longrope"));
  }
  rope.inv_freq.assign(frequencies.begin(), frequencies.end());
  for (double f : rope.inv_freq)
    if (!std::isfinite(f)) throw InvalidData(cat(p.scaling->source(), ": gives a rotary frequency that is not finite"));
  return rope;
}

}  // namespace lacuna
