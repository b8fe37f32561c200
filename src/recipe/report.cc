// report.json and `--json` of a pruning run.
#include <nlohmann/json.hpp>

#include "lacuna/prune.h"

namespace lacuna {

std::string to_json(const PruneReport& r) {
  nlohmann::ordered_json out = {{"model", r.model},
                                {"dry_run", r.dry_run},
                                {"sparsity", r.sparsity()},
                                {"claimed_parameters", r.claimed_parameters},
                                {"claimed_zeros", r.claimed_zeros},
                                {"total_parameters", r.total_parameters},
                                {"total_zeros", r.total_zeros},
                                {"bytes_before", r.bytes_before},
                                {"bytes_after", r.bytes_after},
                                {"needs_attention", r.needs_attention},
                                {"weights", nlohmann::ordered_json::array()}};
  if (!r.output.empty()) out["output"] = r.output;
  if (!r.calibration.empty()) out["calibration"] = r.calibration;
  for (auto& a : r.activations) out["activations"].push_back({{"layer", a.layer}, {"kind", a.kind}, {"scale", a.scale}});
  if (r.seconds > 0) out["seconds"] = r.seconds;
  for (auto& w : r.weights)
    out["weights"].push_back({{"name", w.name},
                              {"layer", w.layer},
                              {"op", w.op},
                              {"line", w.line},
                              {"shape", w.shape},
                              {"parameters", w.parameters},
                              {"zeros", w.zeros},
                              {"sparsity", w.sparsity},
                              {"pattern", w.pattern},
                              {"format", w.format},
                              {"encoding_before", w.encoding_before},
                              {"encoding", w.encoding},
                              {"rounding_error", w.rounding_error},
                              {"bytes_before", w.bytes_before},
                              {"bytes_after", w.bytes_after}});
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace lacuna
