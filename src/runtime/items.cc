#include "runtime/items.h"

#include <algorithm>
#include <set>

#include "lacuna/error.h"

namespace lacuna {
namespace {

// What a value is to the items.
enum class Kind {
  kShared,  // the same whatever the items are
  kSizes,   // integers that follow from how many there are
  kItems,   // item by item along the first dimension
  kMixed,   // anything else
};

bool names(const Dim& dim, const std::string& symbol) {
  std::set<std::string> symbols;
  dim.collect_symbols(symbols);
  return symbols.contains(symbol);
}

class Analysis {
 public:
  Analysis(const Graph& graph, std::string symbol)
      : graph_(graph), symbol_(std::move(symbol)), facts_(infer_facts(graph)), kinds_(graph.values().size(), Kind::kShared) {}

  std::optional<Items> separate() {
    Items items{.symbol = symbol_};
    for (ValueId v : graph_.inputs()) {
      if ((kind(v) = kind_by_shape(facts_[size_t(v)])) == Kind::kMixed || bits_of(facts_[size_t(v)].dtype) < 8) return std::nullopt;
      items.inputs.push_back(kind(v) == Kind::kItems);
    }
    for (const Node& node : graph_.nodes()) {
      Kind result = result_of(node);
      for (ValueId v : node.outputs)
        if (v != kNoValue) kind(v) = result;
      if (result == Kind::kMixed) return std::nullopt;
    }
    for (auto& output : graph_.outputs())
      if (kind(output.value) != Kind::kItems || bits_of(facts_[size_t(output.value)].dtype) < 8) return std::nullopt;
    if (!holds_for_one()) return std::nullopt;
    return items;
  }

 private:
  Kind& kind(ValueId v) { return kinds_[size_t(v)]; }
  const SymShape& shape(ValueId v) const { return *facts_[size_t(v)].shape; }

  // Whether a graph of one item has the shapes that follow: another symbol that stands for the same number would not.
  bool holds_for_one() const {
    const Bindings one = {{symbol_, 1}};
    std::vector<Fact> facts;
    try {
      facts = infer_facts(graph_, one);
    } catch (const Error&) {
      return false;
    }
    for (size_t v = 0; v < facts.size(); v++) {
      if (kinds_[v] != Kind::kItems) continue;
      const SymShape& wanted = *facts_[v].shape;
      if (!facts[v].shape || facts[v].shape->size() != wanted.size()) return false;
      for (size_t i = 0; i < wanted.size(); i++)
        if (!((*facts[v].shape)[i] == wanted[i].bind(one))) return false;
    }
    return true;
  }

  // Of a value that depends on the items, or may.
  Kind kind_by_shape(const Fact& fact) const {
    if (!fact.shape) return Kind::kMixed;
    const SymShape& shape = *fact.shape;
    bool any = false;
    for (size_t i = 0; i < shape.size(); i++)
      if (names(shape[i], symbol_)) {
        if (i > 0 || !(shape[0] == Dim::symbol(symbol_) * shape[0].bind({{symbol_, 1}}))) return Kind::kMixed;
        any = true;
      }
    return any ? Kind::kItems : Kind::kShared;
  }

  Kind result_of(const Node& node) {
    bool items = false, sizes = false;
    for (ValueId v : node.inputs) {
      if (v == kNoValue) continue;
      if (kind(v) == Kind::kMixed) return Kind::kMixed;
      items |= kind(v) == Kind::kItems, sizes |= kind(v) == Kind::kSizes;
    }
    if (!items && !sizes) return Kind::kShared;
    Kind all = Kind::kShared;
    for (ValueId v : node.outputs) {
      if (v == kNoValue) continue;
      Kind one = kind_of_output(node, v, items);
      if (all != Kind::kShared && one != all) return Kind::kMixed;
      all = one;
    }
    return all;
  }

  Kind kind_of_output(const Node& node, ValueId v, bool items) {
    const Fact& fact = facts_[size_t(v)];
    // Known beforehand: what it says of items is how many there are.
    if (fact.elements) {
      bool counts = std::any_of(fact.elements->begin(), fact.elements->end(), [&](const Dim& d) { return names(d, symbol_); });
      return counts ? Kind::kSizes : Kind::kShared;
    }
    if (kind_by_shape(fact) != Kind::kItems) return Kind::kMixed;
    bool sizes_only_shape = true;
    for (size_t i = 0; i < node.inputs.size(); i++)
      if (node.inputs[i] != kNoValue && kind(node.inputs[i]) == Kind::kSizes)
        sizes_only_shape &= i > 0 && takes_a_shape(node.op) && sizes_are_known(*fact.shape);
    if (node.op == Op::constant_of_shape) sizes_only_shape = true;
    return sizes_only_shape && (items ? keeps_apart(node, v) : repeats(node.op)) ? Kind::kItems : Kind::kMixed;
  }

  // A size that only the run can tell may follow from how many items there are.
  static bool sizes_are_known(const SymShape& shape) {
    std::set<std::string> symbols;
    for (const Dim& dim : shape) dim.collect_symbols(symbols);
    return std::none_of(symbols.begin(), symbols.end(), [](const std::string& symbol) { return symbol.starts_with('?'); });
  }
  static bool takes_a_shape(Op op) { return op == Op::reshape || op == Op::expand || op == Op::resize; }
  // Makes the same for every item of what is shared.
  static bool repeats(Op op) { return op == Op::expand || op == Op::constant_of_shape; }

  // The axis of an attribute, counted from the front.
  int64_t axis_of(const Node& node, int64_t otherwise) const {
    int64_t axis = node.attributes.integer("axis", otherwise);
    return axis < 0 ? axis + int64_t(shape(node.inputs[0]).size()) : axis;
  }
  bool same_count(ValueId a, ValueId b) const { return shape(a)[0] == shape(b)[0]; }
  // As many rows for every item as y has.
  bool counts_as(ValueId v, ValueId y) { return kind(v) == Kind::kItems && same_count(v, y); }
  // Shared, and the same for every row of y, whose rank it is broadcast to.
  bool same_for_all(ValueId v, ValueId y) {
    return kind(v) == Kind::kShared && facts_[size_t(v)].shape && (shape(v).size() < shape(y).size() || shape(v)[0] == Dim(1));
  }

  // Whether a result that is laid out by items holds of each item what follows from it.
  bool keeps_apart(const Node& node, ValueId y) {
    ValueId x = node.inputs[0];
    bool of_items = x != kNoValue && kind(x) == Kind::kItems;
    auto others_shared = [&](size_t from) {
      for (size_t i = from; i < node.inputs.size(); i++)
        if (node.inputs[i] != kNoValue && kind(node.inputs[i]) == Kind::kItems) return false;
      return true;
    };
    switch (node.op) {
      // Row by row of the first dimension, with shared weights, scales and sizes.
      case Op::linear:
      case Op::conv:
      case Op::conv_transpose:
      case Op::batch_norm:
      case Op::instance_norm:
      case Op::group_norm:
      case Op::average_pool:
      case Op::lp_pool:
      case Op::global_average_pool:
      case Op::global_max_pool:
      case Op::depth_to_space:
      case Op::space_to_depth:
      case Op::lrn: return of_items && others_shared(1) && shape(x).size() > 1 && same_count(x, y);
      case Op::max_pool: return of_items && (node.outputs.size() < 2 || node.outputs[1] == kNoValue);  // which counts positions through all items
      case Op::resize:
        return of_items && others_shared(1) && same_count(x, y) && node.attributes.text("coordinate_transformation_mode", "") != "tf_crop_and_resize";
      case Op::quantize:
      case Op::dequantize: {
        auto& scale = facts_[size_t(node.inputs[1])].shape;
        bool one_scale = scale && (scale->empty() || (scale->size() == 1 && (*scale)[0] == Dim(1)));
        return of_items && others_shared(1) && node.attributes.integer("block_size", 0) == 0 && (one_scale || axis_of(node, 1) > 0);
      }
      // Along an axis that does not count items.
      case Op::softmax:
      case Op::log_softmax:
      case Op::l2_norm:
      case Op::top_k:
      case Op::layer_norm:
      case Op::rms_norm: return of_items && others_shared(1) && axis_of(node, -1) > 0 && same_count(x, y);
      case Op::arg_max:
      case Op::arg_min: return of_items && axis_of(node, 0) > 0 && same_count(x, y);
      // Element by element: what is broadcast along the first dimension is shared.
      case Op::relu:
      case Op::leaky_relu:
      case Op::elu:
      case Op::selu:
      case Op::celu:
      case Op::sigmoid:
      case Op::hard_sigmoid:
      case Op::hard_swish:
      case Op::tanh:
      case Op::gelu:
      case Op::silu:
      case Op::mish:
      case Op::softplus:
      case Op::softsign:
      case Op::thresholded_relu:
      case Op::shrink:
      case Op::erf:
      case Op::exp:
      case Op::log:
      case Op::sqrt:
      case Op::reciprocal:
      case Op::abs:
      case Op::neg:
      case Op::sign:
      case Op::floor:
      case Op::ceil:
      case Op::round:
      case Op::sin:
      case Op::cos:
      case Op::tan:
      case Op::atan:
      case Op::logical_not:
      case Op::is_nan:
      case Op::is_inf:
      case Op::clip:
      case Op::cast:
      case Op::identity:
      case Op::add:
      case Op::sub:
      case Op::mul:
      case Op::div:
      case Op::pow:
      case Op::mod:
      case Op::minimum:
      case Op::maximum:
      case Op::prelu:
      case Op::equal:
      case Op::less:
      case Op::less_equal:
      case Op::greater:
      case Op::greater_equal:
      case Op::logical_and:
      case Op::logical_or:
      case Op::logical_xor:
      case Op::where: return broadcasts(node, y);
      // In the order of memory, which the first dimension leads.
      case Op::reshape:
      case Op::flatten:
      case Op::squeeze:
      case Op::unsqueeze: return of_items;
      case Op::expand: {
        auto& to = facts_[size_t(node.inputs[1])].elements;
        return of_items && same_count(x, y) && shape(x).size() == shape(y).size() && to &&
               (to->size() < shape(y).size() || (*to)[0] == Dim(1) || (*to)[0] == shape(y)[0]);
      }
      case Op::transpose: {
        auto perm = node.attributes.integers("perm", {});
        return of_items && !perm.empty() && perm[0] == 0;
      }
      case Op::concat: return axis_of(node, 0) > 0 && broadcasts(node, y);
      case Op::split: return of_items && others_shared(1) && axis_of(node, 0) > 0;
      case Op::pad: return of_items && others_shared(1) && same_count(x, y) && pads_no_items(node);
      case Op::slice: return of_items && others_shared(1) && same_count(x, y) && slices_no_items(node);
      case Op::gather: return of_items ? axis_of(node, 0) > 0 && others_shared(1) && same_count(x, y) : axis_of(node, 0) == 0;
      case Op::embedding: return of_items && others_shared(1);
      case Op::matmul: return shape(y).size() > 2 ? broadcasts(node, y) : of_items && others_shared(1) && same_count(x, y);
      case Op::attention: {
        if (node.inputs.size() > 4 || !counts_as(x, y) || !counts_as(node.inputs[1], y) || !counts_as(node.inputs[2], y)) return false;
        ValueId mask = node.inputs.size() > 3 ? node.inputs[3] : kNoValue;
        if (mask == kNoValue) return true;
        if (!facts_[size_t(mask)].shape) return false;
        size_t rank = shape(mask).size();  // 2: [b, s], 4: [b, heads, t, s]; of others the first dimension counts no items
        bool of_each = rank == 2 || rank == 4;
        return kind(mask) == Kind::kItems ? of_each && same_count(mask, y) : kind(mask) == Kind::kShared && (!of_each || shape(mask)[0] == Dim(1));
      }
      case Op::positions: return counts_as(x, y) && (node.inputs.size() < 2 || node.inputs[1] == kNoValue || counts_as(node.inputs[1], y));
      case Op::rope: return counts_as(x, y) && (counts_as(node.inputs[1], y) || same_for_all(node.inputs[1], node.inputs[1]));
      case Op::token_pool: return counts_as(x, y) && (node.inputs.size() < 2 || node.inputs[1] == kNoValue || counts_as(node.inputs[1], y));
      case Op::reduce_sum:
      case Op::reduce_mean:
      case Op::reduce_max:
      case Op::reduce_min:
      case Op::reduce_prod:
      case Op::reduce_l1:
      case Op::reduce_l2:
      case Op::reduce_sum_square:
      case Op::reduce_log_sum_exp:
      case Op::reduce_log_sum: return of_items && others_shared(1) && same_count(x, y);
      default: return false;
    }
  }

  // Inputs laid out by items meet the result's first dimension with their own, and the others are the same for all of it.
  bool broadcasts(const Node& node, ValueId y) {
    return std::all_of(node.inputs.begin(), node.inputs.end(),
                       [&](ValueId v) { return v == kNoValue || (counts_as(v, y) && shape(v).size() == shape(y).size()) || same_for_all(v, y); });
  }

  bool slices_no_items(const Node& node) const {
    if (node.inputs.size() < 4 || node.inputs[3] == kNoValue) return false;
    auto& axes = facts_[size_t(node.inputs[3])].elements;
    if (!axes) return false;
    int64_t rank = int64_t(shape(node.inputs[0]).size());
    return std::none_of(axes->begin(), axes->end(),
                        [&](const Dim& axis) { return !axis.is_constant() || axis.value() == 0 || axis.value() == -rank; });
  }

  bool pads_no_items(const Node& node) const {
    auto& pads = facts_[size_t(node.inputs[1])].elements;
    return node.inputs.size() < 4 && pads && !pads->empty() && (*pads)[0] == Dim(0);
  }

  const Graph& graph_;
  std::string symbol_;
  std::vector<Fact> facts_;
  std::vector<Kind> kinds_;
};

}  // namespace

std::optional<Items> separate_items(const Graph& graph) {
  if (!graph.states().empty()) return std::nullopt;
  for (ValueId v : graph.inputs()) {
    const Fact fact = initial_fact(graph, v);
    if (!fact.shape || fact.shape->empty()) continue;
    std::set<std::string> symbols;
    (*fact.shape)[0].collect_symbols(symbols);
    if (symbols.size() != 1) continue;
    return Analysis(graph, *symbols.begin()).separate();
  }
  return std::nullopt;
}

Products products_of(const Graph& graph, const Bindings& bindings, int64_t few) {
  std::vector<Fact> facts = infer_facts(graph, bindings);
  Products products;
  for (const Node& node : graph.nodes()) {
    if ((node.op != Op::linear && node.op != Op::conv) || !graph.weight_of(node.inputs[1])) continue;
    const Weight& weight = *graph.weight_of(node.inputs[1]);
    const Fact& y = facts[size_t(node.outputs[0])];
    auto shape = y.shape ? constant_shape(*y.shape) : std::nullopt;
    if (!shape || weight.size() == 0) continue;
    // Every output channel of a row has weights of its own.
    bool linear = node.op == Op::linear;
    int64_t channels = linear ? shape->back() : (*shape)[1];
    int64_t rows = channels > 0 ? element_count(*shape) / channels : 0;
    double work = double(rows) * double(weight.size());
    products.all += work;
    if (rows <= few) products.of_few_rows += work;
  }
  return products;
}

}  // namespace lacuna
