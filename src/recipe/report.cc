// report.json and `--json` of a pruning run.
#include <nlohmann/json.hpp>

#include "lacuna/prune.h"

namespace lacuna {

std::string to_json(const PruneReport& r) {
  nlohmann::ordered_json out = {{"model", r.model}, {"dry_run", r.dry_run}};
  if (!r.dry_run) out["sparsity"] = r.sparsity();
  out["claimed_parameters"] = r.claimed_parameters;
  if (!r.dry_run) out["claimed_zeros"] = r.claimed_zeros;
  out["total_parameters"] = r.total_parameters;
  if (!r.dry_run) out["total_zeros"] = r.total_zeros;
  out["bytes_before"] = r.bytes_before;
  if (!r.dry_run) out["bytes_after"] = r.bytes_after;
  out["needs_attention"] = r.needs_attention;
  out["weights"] = nlohmann::ordered_json::array();
  if (!r.output.empty()) out["output"] = r.output;
  if (!r.calibration.empty()) out["calibration"] = r.calibration;
  for (auto& a : r.activations) out["activations"].push_back({{"layer", a.layer}, {"kind", a.kind}, {"scale", a.scale}});
  for (auto& k : r.kept_floats)
    out["kept_floats"].push_back(
        {{"why", k.why}, {"can_be_included", k.can_be_included}, {"weights", k.weights}, {"bytes", k.bytes}, {"largest", k.largest}});
  if (r.seconds > 0) out["seconds"] = r.seconds;
  for (auto& w : r.weights) {
    nlohmann::ordered_json row = {{"name", w.name}, {"layer", w.layer}, {"op", w.op},
                                  {"line", w.line}, {"shape", w.shape}, {"parameters", w.parameters}};
    if (w.planned_sparsity) row["planned_sparsity"] = *w.planned_sparsity;
    if (!r.dry_run) row["zeros"] = w.zeros, row["sparsity"] = w.sparsity;
    row["pattern"] = w.pattern;
    if (!r.dry_run) row["format"] = w.format;
    row["encoding_before"] = w.encoding_before;
    row["encoding"] = w.encoding;
    if (!r.dry_run) row["rounding_error"] = w.rounding_error;
    row["bytes_before"] = w.bytes_before;
    if (!r.dry_run) row["bytes_after"] = w.bytes_after;
    out["weights"].push_back(std::move(row));
  }
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace lacuna
