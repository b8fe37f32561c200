#include "recipe/claims.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <set>

#include "base/cat.h"
#include "lacuna/error.h"

namespace lacuna {
namespace {

using Code = std::unique_ptr<pcre2_code, void (*)(pcre2_code*)>;

bool regex_matches(const std::string& pattern, const std::string& subject) {
  thread_local std::map<std::string, Code> cache;
  auto it = cache.find(pattern);
  if (it == cache.end()) {
    int error = 0;
    size_t at = 0;
    Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.c_str()), pattern.size(), PCRE2_ANCHORED, &error, &at, nullptr),
              [](pcre2_code* c) { pcre2_code_free(c); });
    if (!code) {
      char message[120];
      pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
      throw InvalidArgument(cat("re:", pattern, ": ", static_cast<const char*>(message), " at column ", at + 1));
    }
    it = cache.emplace(pattern, std::move(code)).first;
  }
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr),
                                                                      [](pcre2_match_data* d) { pcre2_match_data_free(d); });
  int status = pcre2_match(it->second.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, 0, data.get(), nullptr);
  if (status < 0 && status != PCRE2_ERROR_NOMATCH) {
    char message[120];
    pcre2_get_error_message(status, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    throw InvalidArgument(cat("re:", pattern, ": matching '", subject, "' failed: ", static_cast<const char*>(message)));
  }
  return status >= 0;
}

std::string module_name(const std::string& weight) { return weight.ends_with(".weight") ? weight.substr(0, weight.size() - 7) : weight; }

bool is_regex(const std::string& selector) { return selector.starts_with("re:"); }

bool is_op_type(const std::string& selector, const WeightUse& use, const Node& node) {
  static const std::set<std::string> kAll = {"__ALL__", "__ALL_PRUNABLE__", "*"};
  return kAll.contains(selector) || selector == use.op_type || selector == name_of(node.op) ||
         (selector == "Conv" && use.op_type.starts_with("Conv"));
}

// How alike two names are: the share of pairs of neighbouring characters that both have (Dice's coefficient).
double likeness(std::string_view a, std::string_view b) {
  auto pairs = [](std::string_view s) {
    std::map<std::pair<char, char>, int> out;
    for (size_t i = 0; i + 1 < s.size(); i++) out[{char(std::tolower(uint8_t(s[i]))), char(std::tolower(uint8_t(s[i + 1])))}]++;
    return out;
  };
  auto of_a = pairs(a), of_b = pairs(b);
  int both = 0;
  for (auto& [pair, count] : of_a)
    if (auto it = of_b.find(pair); it != of_b.end()) both += std::min(count, it->second);
  return a.size() + b.size() > 2 ? 2.0 * both / double(a.size() + b.size() - 2) : 0;
}

// The names that a selector may have meant: of weights, or of the nodes that use them (in an ONNX file weights are often called onnx::MatMul_123).
std::string closest_names(const std::string& selector, const Graph& graph, const std::vector<WeightUse>& uses) {
  constexpr size_t kShown = 5;
  std::string_view wanted = selector;
  if (is_regex(selector)) wanted.remove_prefix(3);
  std::vector<std::pair<double, std::string>> ranked;
  std::set<std::string> op_types;
  for (auto& use : uses) {
    const Weight& weight = graph.weights[use.weight];
    if (weight.layout == MatrixLayout::kNone) continue;
    const std::string& node = graph.node(use.node).name;
    double of_weight = likeness(wanted, weight.name), of_node = likeness(wanted, node);
    ranked.emplace_back(std::max(of_weight, of_node), of_node > of_weight ? node : weight.name);
    op_types.insert(use.op_type);
  }
  for (auto& type : op_types) ranked.emplace_back(likeness(wanted, type), type);
  std::stable_sort(ranked.begin(), ranked.end(), [](auto& a, auto& b) { return a.first > b.first; });
  std::vector<std::string> names;
  for (size_t i = 0; i < ranked.size() && names.size() < kShown; i++)
    if (std::find(names.begin(), names.end(), ranked[i].second) == names.end()) names.push_back(ranked[i].second);
  return join(names);
}

}  // namespace

bool selects(const std::string& selector, const Weight& weight, const WeightUse& use, const Node& node) {
  if (is_regex(selector)) {
    std::string pattern = selector.substr(3);
    return regex_matches(pattern, weight.name) || regex_matches(pattern, module_name(weight.name)) || regex_matches(pattern, node.name);
  }
  return selector == weight.name || selector == module_name(weight.name) || selector == node.name ||
         (!node.block.empty() && selector == node.block) || is_op_type(selector, use, node);
}

std::string reason_against_pruning(const WeightUse& use, const Node&) { return use.prunable ? "" : use.reason; }

std::string reason_against_quantizing(const WeightUse& use, const Node& node) {
  bool multiplied = (node.op == Op::linear || node.op == Op::conv) && use.op_type != "Bias";
  bool refused = use.reason == "depthwise convolution" || use.reason == "router" || use.reason == "not a matrix";
  if (node.op == Op::conv_transpose && use.op_type != "Bias") return std::string(kTransposedConvolution);
  return multiplied && !refused ? "" : use.reason.empty() ? "not multiplied" : use.reason;
}

// ": not by default 'fc.weight', output head (include adds them)" of the weights that could be; else that there are none.
std::string why_none(const Graph& graph, std::span<const WeightUse> uses, ReasonAgainst reason_against) {
  std::vector<std::string> reasons;
  for (const WeightUse& use : uses) {
    std::string reason = reason_against(use, graph.node(use.node));
    if (graph.weights[use.weight].layout == MatrixLayout::kNone || use.op_type == "Bias" || reason.empty()) continue;
    reasons.push_back(cat("'", graph.weights[use.weight].name, "', ", reason));
  }
  if (reasons.empty()) return ": it has no weight that is multiplied as a matrix, or `targets` and `ignore` leave none";
  return cat(": not by default ", join(reasons, "; ", 5), " (include adds them)");
}

std::vector<std::vector<Claim>> claim_weights(const Graph& graph, std::span<const Selection> lines, ReasonAgainst reason_against) {
  std::vector<WeightUse> uses = weight_uses(graph);
  std::vector<std::vector<Claim>> claims;
  std::vector<std::string> problems;
  std::map<WeightId, std::vector<size_t>> claimed_by;
  for (size_t l = 0; l < lines.size(); l++) {
    const Selection& line = lines[l];
    const std::string& where = line.where;
    auto matches = [&](const std::vector<std::string>& selectors, const WeightUse& use) {
      return std::any_of(selectors.begin(), selectors.end(),
                         [&](auto& s) { return selects(s, graph.weights[use.weight], use, graph.node(use.node)); });
    };
    std::vector<Claim> mine;
    for (auto& use : uses) {
      const Weight& weight = graph.weights[use.weight];
      const Node& node = graph.node(use.node);
      bool matrix = weight.layout != MatrixLayout::kNone;
      bool included = matrix && matches(line.include, use);
      bool targeted = line.targets.empty() || matches(line.targets, use);
      bool claimed = included || (matrix && reason_against(use, node).empty() && targeted);
      if (!claimed || matches(line.ignore, use)) continue;
      Claim claim{.use = use};
      for (auto& s : included ? line.include : line.targets)
        claim.by_name |= !is_regex(s) && !is_op_type(s, use, node) && selects(s, weight, use, node);
      for (auto& o : line.overrides)
        if (matches(o.targets, use)) {
          if (claim.override_sparsity)
            problems.push_back(cat(where, ": two overrides touch '", weight.name, "': sparsity ", *claim.override_sparsity, " and ", o.sparsity));
          claim.override_sparsity = o.sparsity;
        }
      claimed_by[use.weight].push_back(l);
      mine.push_back(std::move(claim));
    }
    // Every selector must match something of this model.
    auto check = [&](const std::vector<std::string>& selectors, std::string_view key, bool default_only) {
      for (auto& s : selectors) {
        std::string refused;
        bool any = std::any_of(uses.begin(), uses.end(), [&](auto& use) {
          if (!selects(s, graph.weights[use.weight], use, graph.node(use.node))) return false;
          std::string reason = reason_against(use, graph.node(use.node));
          if (!default_only || reason.empty() || matches(line.include, use)) return true;
          bool can_be = graph.weights[use.weight].layout != MatrixLayout::kNone;
          refused = cat("'", graph.weights[use.weight].name, "', which is not claimed by default: ", reason, can_be ? " (add it with include)" : "");
          return false;
        });
        if (any) continue;
        if (!refused.empty())
          problems.push_back(cat(where, ": ", key, " '", s, "' matches only ", refused));
        else
          problems.push_back(cat(where, ": ", key, " '", s, "' matches no weight; the closest names are ", closest_names(s, graph, uses),
                                 " (`lacuna inspect` lists all)"));
      }
    };
    check(line.targets, "targets", true);
    check(line.ignore, "ignore", false);
    check(line.include, "include", false);
    for (auto& o : line.overrides) {
      check(o.targets, "overrides", false);
      bool any = std::any_of(mine.begin(), mine.end(), [&](auto& c) { return matches(o.targets, c.use); });
      if (!any) problems.push_back(cat(where, ": the override of ", join(o.targets), " touches no weight that the line claims"));
    }
    if (mine.empty() && problems.empty()) problems.push_back(cat(where, " claims no weight", why_none(graph, uses, reason_against)));
    claims.push_back(std::move(mine));
  }
  for (auto& [id, by] : claimed_by)
    if (by.size() > 1) problems.push_back(cat("'", graph.weights[id].name, "' is claimed twice: ", lines[by[0]].where, " and ", lines[by[1]].where));
  if (!problems.empty()) throw InvalidArgument(join(problems, "\n", 20));
  return claims;
}

}  // namespace lacuna
