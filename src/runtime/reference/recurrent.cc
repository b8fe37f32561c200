// LSTM, GRU and simple recurrent layers as ONNX has them.
#include <algorithm>
#include <cmath>

#include "runtime/reference/support.h"

namespace lacuna::reference {
namespace {

using Activation = double (*)(double x, double alpha, double beta);
struct NamedActivation {
  const char* name;
  double alpha, beta;  // defaults
  Activation apply;
};
constexpr NamedActivation kActivations[] = {
    {"Sigmoid", 0, 0, [](double x, double, double) { return 1 / (1 + std::exp(-x)); }},
    {"Tanh", 0, 0, [](double x, double, double) { return std::tanh(x); }},
    {"Relu", 0, 0, [](double x, double, double) { return std::max(0.0, x); }},
    {"Affine", 1, 0, [](double x, double a, double b) { return a * x + b; }},
    {"LeakyRelu", 0.01, 0, [](double x, double a, double) { return x >= 0 ? x : a * x; }},
    {"ThresholdedRelu", 1, 0, [](double x, double a, double) { return x >= a ? x : 0; }},
    {"ScaledTanh", 1, 1, [](double x, double a, double b) { return a * std::tanh(b * x); }},
    {"HardSigmoid", 0.2, 0.5, [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); }},
    {"Elu", 1, 0, [](double x, double a, double) { return x >= 0 ? x : a * std::expm1(x); }},
    {"Softsign", 0, 0, [](double x, double, double) { return x / (1 + std::abs(x)); }},
    {"Softplus", 0, 0, [](double x, double, double) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }},
};

struct Bound {
  Activation apply;
  double alpha, beta;
  double operator()(double x) const { return apply(x, alpha, beta); }
};

// The activations of all directions: names separated by commas, with optional lists of alphas and betas.
std::vector<Bound> activations_of(const OpCall& call, const std::vector<std::string>& defaults, int64_t directions) {
  std::vector<std::string> names;
  std::string text = call.text("activations", "");
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    names.push_back(text.substr(begin, end - begin));
    std::erase(names.back(), ' ');
    begin = end + 1;
  }
  while (names.size() < defaults.size() * size_t(directions)) names.push_back(defaults[names.size() % defaults.size()]);
  auto alphas = call.node.attributes.numbers("activation_alpha"), betas = call.node.attributes.numbers("activation_beta");
  std::vector<Bound> out;
  for (size_t i = 0; i < names.size(); i++) {
    auto it = std::find_if(std::begin(kActivations), std::end(kActivations), [&](auto& a) { return names[i] == a.name; });
    if (it == std::end(kActivations)) call.fail(cat("activation '", names[i], "' is not known"));
    out.push_back({it->apply, i < alphas.size() ? alphas[i] : it->alpha, i < betas.size() ? betas[i] : it->beta});
  }
  return out;
}

// What they share: sizes, and the walk over directions, batches and steps.
struct Layout {
  int64_t directions, steps, batch, width, hidden, gates;
  bool batch_first;
  std::vector<int64_t> lengths;
};

Layout layout_of(const OpCall& call, int64_t gates) {
  const Tensor &x = call.in(0), &w = call.in(1), &r = call.in(2);
  Layout l;
  l.gates = gates;
  l.batch_first = call.integer("layout", 0) != 0;
  l.directions = call.text("direction", "forward") == "bidirectional" ? 2 : 1;
  l.hidden = call.integer("hidden_size", r.dim(-1));
  l.steps = x.dim(l.batch_first ? 1 : 0), l.batch = x.dim(l.batch_first ? 0 : 1), l.width = x.dim(2);
  if (w.shape() != Shape{l.directions, gates * l.hidden, l.width} || r.shape() != Shape{l.directions, gates * l.hidden, l.hidden})
    call.fail(cat("weights ", to_string(w.shape()), " and ", to_string(r.shape()), " do not fit hidden_size ", l.hidden));
  l.lengths.assign(size_t(l.batch), l.steps);
  if (call.has(4)) l.lengths = integers_of(call.in(4));
  if (int64_t(l.lengths.size()) != l.batch) call.fail("sequence_lens do not fit the batch");
  for (int64_t n : l.lengths)
    if (n < 0 || n > l.steps) call.fail(cat("a sequence length is ", n, ", the input has ", l.steps, " steps"));
  return l;
}

int64_t state_offset(const Layout& l, int64_t direction, int64_t batch) {
  return (l.batch_first ? batch * l.directions + direction : direction * l.batch + batch) * l.hidden;
}

std::vector<double> initial_state(const OpCall& call, size_t input, const Layout& l, int64_t direction, int64_t batch) {
  std::vector<double> state(size_t(l.hidden), 0);
  if (call.has(input)) std::copy_n(elements<float>(call.in(input)) + state_offset(l, direction, batch), l.hidden, state.begin());
  return state;
}

double dot(const float* w, const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += double(w[i]) * x[i];
  return sum;
}
double dot(const float* w, const std::vector<double>& x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); i++) sum += w[i] * x[i];
  return sum;
}

bool wants(const OpCall& call, size_t output) { return output < call.node.outputs.size() && call.node.outputs[output] != kNoValue; }

// step(direction, batch, x_t, state) advances the states (hidden first); what it leaves is written to the outputs.
template <class Step>
void walk(const OpCall& call, const Layout& l, size_t states, Step&& step) {
  Shape all = l.batch_first ? Shape{l.batch, l.steps, l.directions, l.hidden} : Shape{l.steps, l.directions, l.batch, l.hidden};
  Shape last = l.batch_first ? Shape{l.batch, l.directions, l.hidden} : Shape{l.directions, l.batch, l.hidden};
  float* every = wants(call, 0) ? elements<float>(call.make(0, DType::kF32, all)) : nullptr;
  if (every) std::fill_n(every, element_count(all), 0.0f);
  for (int64_t d = 0; d < l.directions; d++)
    for (int64_t b = 0; b < l.batch; b++) {
      std::vector<std::vector<double>> state;
      for (size_t s = 0; s < states; s++) state.push_back(initial_state(call, 5 + s, l, d, b));
      bool backwards = d == 1 || call.text("direction", "forward") == "reverse";
      for (int64_t n = 0; n < l.lengths[size_t(b)]; n++) {
        int64_t t = backwards ? l.lengths[size_t(b)] - 1 - n : n;
        step(d, b, elements<float>(call.in(0)) + (l.batch_first ? b * l.steps + t : t * l.batch + b) * l.width, state);
        int64_t at = l.batch_first ? (b * l.steps + t) * l.directions + d : (t * l.directions + d) * l.batch + b;
        for (int64_t h = 0; h < l.hidden && every; h++) every[at * l.hidden + h] = float(state[0][size_t(h)]);
      }
      for (size_t s = 0; s < states; s++)
        if (wants(call, 1 + s)) {
          float* out = elements<float>(call.make(1 + s, DType::kF32, last)) + state_offset(l, d, b);
          for (int64_t h = 0; h < l.hidden; h++) out[h] = float(state[s][size_t(h)]);
        }
    }
}

double clipped(double v, double limit) { return limit > 0 ? std::clamp(v, -limit, limit) : v; }

}  // namespace

// Gates in the order input, output, forget, cell; bias [directions, 8 * hidden]; peepholes [directions, 3 * hidden] (i, o, f).
void lstm(const OpCall& call) {
  Layout l = layout_of(call, 4);
  auto activations = activations_of(call, {"Sigmoid", "Tanh", "Tanh"}, l.directions);
  double limit = call.number("clip", 0);
  bool coupled = call.integer("input_forget", 0) != 0;
  int64_t hidden = l.hidden;
  walk(call, l, 2, [&](int64_t d, int64_t, const float* x, std::vector<std::vector<double>>& state) {
    const float *w = elements<float>(call.in(1)) + d * 4 * hidden * l.width, *r = elements<float>(call.in(2)) + d * 4 * hidden * hidden;
    const float* bias = call.has(3) ? elements<float>(call.in(3)) + d * 8 * hidden : nullptr;
    const float* peephole = call.has(7) ? elements<float>(call.in(7)) + d * 3 * hidden : nullptr;
    const Bound *f = &activations[size_t(d * 3)], *g = f + 1, *h = f + 2;
    std::vector<double> next_hidden(static_cast<size_t>(hidden)), next_cell(static_cast<size_t>(hidden));
    for (int64_t i = 0; i < hidden; i++) {
      auto gate = [&](int64_t n, double extra) {
        int64_t row = n * hidden + i;
        double sum = dot(w + row * l.width, x, l.width) + dot(r + row * hidden, state[0]) + extra;
        if (bias) sum += double(bias[row]) + bias[4 * hidden + row];
        return clipped(sum, limit);
      };
      auto peep = [&](int64_t n, double cell) { return peephole ? peephole[n * hidden + i] * cell : 0; };
      double cell = state[1][size_t(i)];
      double in = (*f)(gate(0, peep(0, cell))), forget = coupled ? 1 - in : (*f)(gate(2, peep(2, cell)));
      double fresh = forget * cell + in * (*g)(gate(3, 0));
      next_cell[size_t(i)] = fresh;
      next_hidden[size_t(i)] = (*f)(gate(1, peep(1, fresh))) * (*h)(fresh);
    }
    state[0] = next_hidden, state[1] = next_cell;
  });
}

// Gates in the order update, reset, hidden; bias [directions, 6 * hidden].
void gru(const OpCall& call) {
  Layout l = layout_of(call, 3);
  auto activations = activations_of(call, {"Sigmoid", "Tanh"}, l.directions);
  double limit = call.number("clip", 0);
  bool reset_after = call.integer("linear_before_reset", 0) != 0;
  int64_t hidden = l.hidden;
  walk(call, l, 1, [&](int64_t d, int64_t, const float* x, std::vector<std::vector<double>>& state) {
    const float *w = elements<float>(call.in(1)) + d * 3 * hidden * l.width, *r = elements<float>(call.in(2)) + d * 3 * hidden * hidden;
    const float* bias = call.has(3) ? elements<float>(call.in(3)) + d * 6 * hidden : nullptr;
    const Bound *f = &activations[size_t(d * 2)], *g = f + 1;
    auto input_part = [&](int64_t row) { return dot(w + row * l.width, x, l.width) + (bias ? bias[row] : 0); };
    auto recurrent_part = [&](int64_t row, const std::vector<double>& h) { return dot(r + row * hidden, h) + (bias ? bias[3 * hidden + row] : 0); };
    std::vector<double> update(static_cast<size_t>(hidden)), reset(static_cast<size_t>(hidden)), damped(static_cast<size_t>(hidden)),
        next(static_cast<size_t>(hidden));
    for (int64_t i = 0; i < hidden; i++) {
      update[size_t(i)] = (*f)(clipped(input_part(i) + recurrent_part(i, state[0]), limit));
      reset[size_t(i)] = (*f)(clipped(input_part(hidden + i) + recurrent_part(hidden + i, state[0]), limit));
      damped[size_t(i)] = reset[size_t(i)] * state[0][size_t(i)];
    }
    for (int64_t i = 0; i < hidden; i++) {
      int64_t row = 2 * hidden + i;
      double inner = reset_after ? reset[size_t(i)] * recurrent_part(row, state[0]) : recurrent_part(row, damped);
      double candidate = (*g)(clipped(input_part(row) + inner, limit));
      next[size_t(i)] = (1 - update[size_t(i)]) * candidate + update[size_t(i)] * state[0][size_t(i)];
    }
    state[0] = next;
  });
}

// bias [directions, 2 * hidden].
void rnn(const OpCall& call) {
  Layout l = layout_of(call, 1);
  auto activations = activations_of(call, {"Tanh"}, l.directions);
  double limit = call.number("clip", 0);
  int64_t hidden = l.hidden;
  walk(call, l, 1, [&](int64_t d, int64_t, const float* x, std::vector<std::vector<double>>& state) {
    const float *w = elements<float>(call.in(1)) + d * hidden * l.width, *r = elements<float>(call.in(2)) + d * hidden * hidden;
    const float* bias = call.has(3) ? elements<float>(call.in(3)) + d * 2 * hidden : nullptr;
    std::vector<double> next(static_cast<size_t>(hidden));
    for (int64_t i = 0; i < hidden; i++) {
      double sum = dot(w + i * l.width, x, l.width) + dot(r + i * hidden, state[0]);
      if (bias) sum += double(bias[i]) + bias[hidden + i];
      next[size_t(i)] = activations[size_t(d)](clipped(sum, limit));
    }
    state[0] = next;
  });
}

}  // namespace lacuna::reference
