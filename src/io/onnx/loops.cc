// The cells, with h the state, x the row of this step, K, R, b, c constants, [i] the i-th third of the columns:
//   GRU, reset after      h' = z h + (1 - z) tanh((xK + b)[2] + r (hR + c)[2]),   z, r = sigmoid((xK + b)[i] + (hR + c)[i]), i = 0, 1
//   GRU, reset before     h' = z h + (1 - z) tanh((xK + b)[2] + (r h) R[2]),      z, r = sigmoid((xK + b)[i] + (h R[0..1])[i])
//   simple                h' = f(xK + hR + b), f = tanh, relu or sigmoid
#include "io/onnx/loops.h"

#include <algorithm>
#include <unordered_map>

#include "io/onnx/lacuna_onnx.pb.h"

namespace lacuna::onnx {
namespace {

struct Cell {
  Op op;
  std::string sequence, kernel, recurrence, bias, recurrent_bias;  // names; "" if absent
  bool reset_after = false;
  std::string activation;  // of a simple layer
};

class Matcher {
 public:
  Matcher(GraphBuilder& builder, const GraphProto& body, const SourceNode& node, const Lookup& lookup)
      : builder_(builder), body_(body), node_(node), lookup_(lookup) {
    for (auto& n : body.node())
      for (int i = 0; i < n.output_size(); i++) producers_[n.output(i)] = {&n, i};
  }

  std::optional<std::vector<ValueId>> run() {
    if (!find_states()) return std::nullopt;
    auto start = constant_shape_of(node_.inputs[size_t(state_ + 2)]);
    if (!start) return std::nullopt;
    hidden_ = *start;
    auto cell = cell_of(body_.output(state_ + 1).name());
    if (!cell || !runs_over(cell->sequence)) return std::nullopt;
    for (int i = carried() + 1; i < body_.output_size(); i++)
      if (plain(body_.output(i).name()) != plain(body_.output(state_ + 1).name())) return std::nullopt;
    return emit(*cell);
  }

 private:
  struct Producer {
    const NodeProto* node = nullptr;
    int output = 0;
  };

  int carried() const { return int(node_.inputs.size()) - 2; }

  // Behind identities.
  std::string plain(std::string name) const {
    for (auto it = producers_.find(name); it != producers_.end() && it->second.node->op_type() == "Identity"; it = producers_.find(name))
      name = it->second.node->input(0);
    return name;
  }

  const NodeProto* made_by(const std::string& name, const char* type, int inputs = 2) const {
    auto it = producers_.find(plain(name));
    return it != producers_.end() && it->second.node->op_type() == type && it->second.node->input_size() >= inputs ? it->second.node : nullptr;
  }

  template <class F>
  static bool in_either_order(const NodeProto* node, F&& f) {
    return node && (f(node->input(0), node->input(1)) || f(node->input(1), node->input(0)));
  }

  std::optional<std::vector<int64_t>> integers(const std::string& name) const { return integers(lookup_(name)); }
  std::optional<std::vector<int64_t>> integers(ValueId value) const {
    auto known = value == kNoValue ? std::nullopt : builder_.constant(value);
    if (!known) return std::nullopt;
    Tensor numbers = known->to(DType::kF64), whole = known->to(DType::kS64);
    auto exact = numbers.data<double>();
    auto out = whole.data<int64_t>();
    for (size_t i = 0; i < out.size(); i++)
      if (double(out[i]) != exact[i]) return std::nullopt;
    return std::vector<int64_t>(out.begin(), out.end());
  }

  // The width of a state [batch, hidden].
  std::optional<int64_t> constant_shape_of(ValueId value) const {
    auto& shape = builder_.fact(value).shape;
    if (!shape || shape->size() != 2 || !shape->back().is_constant()) return std::nullopt;
    return shape->back().value();
  }

  // One state counts the rounds, one is the cell's, the others are handed on.
  bool find_states() {
    for (int i = 0; i < carried(); i++) {
      const std::string& name = body_.input(i + 2).name();
      std::string next = plain(body_.output(i + 1).name());
      if (next == name) continue;
      bool counts = in_either_order(made_by(next, "Add"),
                                    [&](const std::string& a, const std::string& b) { return a == name && integers(b) == std::vector<int64_t>{1}; });
      int& found = counts ? counter_ : state_;
      if (found >= 0) return false;
      found = i;
    }
    return state_ >= 0 && counter_ >= 0;
  }

  bool is_state(const std::string& name) const { return plain(name) == body_.input(state_ + 2).name(); }
  bool is_round(const std::string& name) const {
    std::string p = plain(name);
    return p == body_.input(0).name() || (p == body_.input(counter_ + 2).name() && starts_at_zero());
  }
  bool starts_at_zero() const { return integers(node_.inputs[size_t(counter_ + 2)]) == std::vector<int64_t>{0}; }

  // The sequence of which this is the row of the round.
  std::optional<std::string> row_of(const std::string& name) const {
    const NodeProto* gather = made_by(name, "Gather");
    if (!gather || !is_round(gather->input(1)) || lookup_(gather->input(0)) == kNoValue) return std::nullopt;
    for (auto& a : gather->attribute())
      if (a.name() == "axis" && a.i() != 0) return std::nullopt;
    return gather->input(0);
  }

  // The columns [from, to) of a matrix are what `slice` keeps.
  bool keeps_columns(const NodeProto& slice, int64_t from, int64_t to, int64_t width) const {
    if (slice.input_size() < 4 || slice.input_size() > 5 || (slice.input_size() == 5 && integers(slice.input(4)) != std::vector<int64_t>(2, 1)))
      return false;
    auto starts = integers(slice.input(1)), ends = integers(slice.input(2)), axes = integers(slice.input(3));
    if (!starts || !ends || axes != std::vector<int64_t>{0, 1} || starts->size() != 2 || ends->size() != 2) return false;
    return (*starts)[0] == 0 && (*ends)[0] >= INT32_MAX && (*starts)[1] == from && std::min((*ends)[1], width) == to;
  }

  // The name of the matrix of which this is the part `i` of `parts` of `hidden_` columns each.
  std::optional<std::string> part(const std::string& name, int i, int parts) const {
    auto it = producers_.find(plain(name));
    if (it == producers_.end()) return std::nullopt;
    const NodeProto& node = *it->second.node;
    if (node.op_type() == "Slice" && node.input_size() > 0 && keeps_columns(node, i * hidden_, (i + 1) * hidden_, parts * hidden_))
      return plain(node.input(0));
    if (node.op_type() != "Split" || node.output_size() != parts || it->second.output != i || node.input_size() == 0) return std::nullopt;
    if (node.input_size() > 1 && integers(node.input(1)) != std::vector<int64_t>(size_t(parts), hidden_)) return std::nullopt;
    for (auto& a : node.attribute()) {
      if (a.name() == "axis" && a.i() != 1 && a.i() != -1) return std::nullopt;
      if (a.name() == "split" && std::any_of(a.ints().begin(), a.ints().end(), [&](int64_t n) { return n != hidden_; })) return std::nullopt;
    }
    return plain(node.input(0));
  }

  // matrix and bias of left * matrix (+ bias); `is_left` says of a name whether it is that operand.
  struct Product {
    std::string matrix, bias, left;
  };
  template <class F>
  std::optional<Product> product(const std::string& name, F&& is_left) const {
    if (const NodeProto* m = made_by(name, "MatMul"); m && is_left(m->input(0))) return Product{m->input(1), "", m->input(0)};
    std::optional<Product> out;
    in_either_order(made_by(name, "Add"), [&](const std::string& a, const std::string& b) {
      const NodeProto* m = made_by(a, "MatMul");
      if (!m || !is_left(m->input(0)) || lookup_(b) == kNoValue) return false;
      out = Product{m->input(1), b, m->input(0)};
      return true;
    });
    return out;
  }

  std::optional<Cell> cell_of(const std::string& next) const {
    if (auto simple = simple_cell(next)) return simple;
    return gru_cell(next);
  }

  void addends(const std::string& name, std::vector<std::string>& out) const {
    const NodeProto* sum = made_by(name, "Add");
    if (!sum || out.size() > 4) return out.push_back(plain(name));
    addends(sum->input(0), out);
    addends(sum->input(1), out);
  }

  std::optional<Cell> simple_cell(const std::string& next) const {
    for (const char* activation : {"Tanh", "Relu", "Sigmoid"}) {
      const NodeProto* node = made_by(next, activation, 1);
      if (!node) continue;
      Cell cell{.op = Op::rnn, .activation = activation};
      std::vector<std::string> terms;
      addends(node->input(0), terms);
      for (auto& term : terms) {
        const NodeProto* m = made_by(term, "MatMul");
        auto sequence = m ? row_of(m->input(0)) : std::nullopt;
        std::string& place = sequence ? cell.kernel : m && is_state(m->input(0)) ? cell.recurrence : cell.bias;
        if (!place.empty() || (!m && lookup_(term) == kNoValue)) return std::nullopt;
        place = m ? m->input(1) : term;
        if (sequence) cell.sequence = *sequence;
      }
      if (!cell.kernel.empty() && !cell.recurrence.empty()) return cell;
    }
    return std::nullopt;
  }

  // sigmoid(part i of the input side + part i of the state's side); the sides are bound by the first call.
  bool is_gate(const std::string& name, int i, std::string& input_side, std::string& state_side) const {
    const NodeProto* gate = made_by(name, "Sigmoid", 1);
    return gate && in_either_order(made_by(gate->input(0), "Add"), [&](const std::string& a, const std::string& b) {
             auto x = part(a, i, 3), h = part(b, i, 3);
             if (!h) h = part(b, i, 2);
             if (!x || !h) return false;
             if (input_side.empty() && product(*x, [&](const std::string& n) { return row_of(n).has_value(); }) &&
                 product(*h, [&](const std::string& n) { return is_state(n); }))
               input_side = *x, state_side = *h;
             return input_side == *x && state_side == *h;
           });
  }

  std::optional<Cell> gru_cell(const std::string& next) const {
    std::string update, candidate, input_side, state_side;
    bool blends = in_either_order(made_by(next, "Add"), [&](const std::string& old, const std::string& fresh) {
      return in_either_order(made_by(old, "Mul"), [&](const std::string& z, const std::string& h) {
        return is_state(h) && in_either_order(made_by(fresh, "Mul"), [&](const std::string& rest, const std::string& c) {
                 const NodeProto* sub = made_by(rest, "Sub");
                 if (!sub || plain(sub->input(1)) != plain(z) || integers(sub->input(0)) != std::vector<int64_t>{1}) return false;
                 update = z, candidate = c;
                 return true;
               });
      });
    });
    const NodeProto* tanh = blends ? made_by(candidate, "Tanh", 1) : nullptr;
    if (!tanh || !is_gate(update, 0, input_side, state_side)) return std::nullopt;
    Cell cell{.op = Op::gru};
    auto x = product(input_side, [&](const std::string& n) { return row_of(n).has_value(); });
    auto h = product(state_side, [&](const std::string& n) { return is_state(n); });
    cell.sequence = *row_of(x->left), cell.kernel = x->matrix, cell.bias = x->bias, cell.recurrence = h->matrix, cell.recurrent_bias = h->bias;
    bool found = in_either_order(made_by(tanh->input(0), "Add"), [&](const std::string& a, const std::string& b) {
      if (part(a, 2, 3) != input_side) return false;
      cell.reset_after = in_either_order(made_by(b, "Mul"), [&](const std::string& r, const std::string& inner) {
        return part(inner, 2, 3) == state_side && is_gate(r, 1, input_side, state_side);
      });
      return cell.reset_after || resets_before(b, cell, input_side, state_side);
    });
    return found ? std::optional(cell) : std::nullopt;
  }

  // (r h) R[2], where the state's side is h R[0..1].
  bool resets_before(const std::string& name, Cell& cell, std::string& input_side, std::string& state_side) const {
    const NodeProto *m = made_by(name, "MatMul"), *gates = made_by(cell.recurrence, "Slice", 1);
    const NodeProto* last = m ? made_by(m->input(1), "Slice", 1) : nullptr;
    if (!gates || !last || !cell.recurrent_bias.empty() || plain(gates->input(0)) != plain(last->input(0))) return false;
    if (!keeps_columns(*gates, 0, 2 * hidden_, 3 * hidden_) || !keeps_columns(*last, 2 * hidden_, 3 * hidden_, 3 * hidden_)) return false;
    cell.recurrence = gates->input(0);
    return in_either_order(made_by(m->input(0), "Mul"),
                           [&](const std::string& r, const std::string& h) { return is_state(h) && is_gate(r, 1, input_side, state_side); });
  }

  // ---- The number of rounds ----

  bool runs_over(const std::string& sequence) {
    auto& shape = builder_.fact(lookup_(sequence)).shape;
    if (!shape || shape->size() != 3) return false;
    steps_ = (*shape)[0];
    return node_.inputs[0] != kNoValue && is_steps(node_.inputs[0]) && holds_at_first(node_.inputs[1]) && holds(body_.output(0).name());
  }

  bool is_steps(ValueId value) const {
    if (value == kNoValue) return false;
    auto& elements = builder_.fact(value).elements;
    if (elements) return elements->size() == 1 && (*elements)[0] == steps_;
    return steps_.is_constant() && integers(value) == std::vector<int64_t>{steps_.value()};
  }

  // The condition before the first round: true, or 0 < steps, which only ends a loop that has no round anyway.
  bool holds_at_first(ValueId condition) const {
    if (condition == kNoValue) return true;
    if (auto known = integers(condition)) return *known == std::vector<int64_t>{1};
    NodeId producer = builder_.graph().value(condition).producer;
    if (producer < 0) return false;
    const Node& node = builder_.graph().node(producer);
    if (node.op == Op::logical_and) return holds_at_first(node.inputs[0]) && holds_at_first(node.inputs[1]);
    return node.op == Op::less && integers(node.inputs[0]) == std::vector<int64_t>{0} && is_steps(node.inputs[1]);
  }

  // The condition of a round: it may only say that the rounds stay below the number of steps.
  bool holds(const std::string& name) const {
    std::string condition = plain(name);
    if (condition == body_.input(1).name()) return true;
    if (const NodeProto* both = made_by(condition, "And")) return holds(both->input(0)) && holds(both->input(1));
    const NodeProto* less = made_by(condition, "Less");
    if (!less) return false;
    std::string round = without_casts(less->input(0));
    bool counts = is_round(round) || (round == plain(body_.output(counter_ + 1).name()) && starts_at_zero());
    return counts && is_steps(lookup_(less->input(1)));
  }

  std::string without_casts(std::string name) const {
    while (const NodeProto* cast = made_by(name, "Cast", 1)) name = cast->input(0);
    return plain(name);
  }

  // ---- The Graph ----

  ValueId add(Op op, std::vector<ValueId> inputs, Attributes attributes, const char* suffix) {
    NodeId id = builder_.add_node(op, std::move(inputs), 1, std::move(attributes), node_.name + "/" + suffix, node_.block);
    return builder_.graph().node(id).outputs[0];
  }

  // [in, columns] -> [1, columns, in], as a constant of its own; nullopt if it is none.
  std::optional<ValueId> transposed(const std::string& name, int64_t columns) {
    ValueId value = lookup_(name);
    const Weight* weight = value == kNoValue ? nullptr : builder_.graph().weight_of(value);
    auto known = weight ? builder_.constant(value) : std::nullopt;
    if (!known || known->dtype() != DType::kF32 || known->rank() != 2 || known->dim(1) != columns) return std::nullopt;
    int64_t rows = known->dim(0);
    Tensor out(DType::kF32, {1, columns, rows}, false);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < columns; c++) out.mutable_data<float>()[size_t(c * rows + r)] = known->data<float>()[size_t(r * columns + c)];
    std::string source = weight->name;
    return builder_.add_constant(source + "_transposed", std::move(out));
  }

  ValueId bias(const std::string& name, int64_t columns, const char* suffix) {
    ValueId value = name.empty() ? builder_.add_constant(node_.name + "/" + suffix, Tensor(DType::kF32, {columns})) : lookup_(name);
    return add(Op::reshape,
               {value, builder_.add_constant(node_.name + "/" + suffix + "_shape", Tensor::of<int64_t>({2}, std::vector<int64_t>{1, columns}))}, {},
               suffix);
  }

  std::optional<std::vector<ValueId>> emit(const Cell& cell) {
    int64_t columns = hidden_ * (cell.op == Op::gru ? 3 : 1);
    auto kernel = transposed(cell.kernel, columns), recurrence = transposed(cell.recurrence, columns);
    if (!kernel || !recurrence) return std::nullopt;
    ValueId both = add(Op::concat, {bias(cell.bias, columns, "bias"), bias(cell.recurrent_bias, columns, "recurrent_bias")},
                       with({{"axis", int64_t(1)}}), "biases");
    ValueId start = add(Op::unsqueeze, {node_.inputs[size_t(state_ + 2)]}, with({{"axes", std::vector<int64_t>{0}}}), "initial_state");
    Attributes attributes = with({{"hidden_size", hidden_}});
    if (cell.op == Op::gru) attributes.set("linear_before_reset", int64_t(cell.reset_after));
    if (cell.op == Op::rnn) attributes.set("activations", cell.activation);
    NodeId id =
        builder_.add_node(cell.op, {lookup_(cell.sequence), *kernel, *recurrence, both, kNoValue, start}, 2, attributes, node_.name, node_.block);
    std::vector<ValueId> outputs = builder_.graph().node(id).outputs;
    std::vector<ValueId> results(node_.inputs.begin() + 2, node_.inputs.end());
    results[size_t(state_)] = add(Op::squeeze, {outputs[1]}, with({{"axes", std::vector<int64_t>{0}}}), "last_state");
    ValueId& counter = results[size_t(counter_)];
    ValueId rounds = add(Op::cast, {node_.inputs[0]}, with({{"to", std::string(name_of(builder_.fact(counter).dtype))}}), "rounds");
    counter = add(Op::add, {counter, rounds}, {}, "counter");
    ValueId all = add(Op::squeeze, {outputs[0]}, with({{"axes", std::vector<int64_t>{1}}}), "states");
    results.insert(results.end(), size_t(body_.output_size() - 1 - carried()), all);
    return results;
  }

  GraphBuilder& builder_;
  const GraphProto& body_;
  const SourceNode& node_;
  const Lookup& lookup_;
  std::unordered_map<std::string, Producer> producers_;
  int state_ = -1, counter_ = -1;  // among the carried values
  int64_t hidden_ = 0;
  Dim steps_;
};

}  // namespace

std::optional<std::vector<ValueId>> recurrent_loop(GraphBuilder& builder, const GraphProto& body, const SourceNode& node, const Lookup& lookup) {
  return Matcher(builder, body, node, lookup).run();
}

}  // namespace lacuna::onnx
