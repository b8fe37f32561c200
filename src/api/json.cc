// The JSON form of every result: the same field names as the public structs.
#include <nlohmann/json.hpp>

#include "lacuna/bench.h"
#include "lacuna/convert.h"
#include "lacuna/demo.h"
#include "lacuna/evaluate.h"
#include "lacuna/inspect.h"
#include "lacuna/run.h"
#include "lacuna/verify.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }

template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

std::string to_json(const ModelSummary& m) {
  Json out = {{"path", m.path}, {"kind", m.kind}, {"family", m.family}};
  auto ports = [](auto& list) {
    Json array = Json::array();
    for (auto& p : list) array.push_back({{"name", p.name}, {"dtype", p.dtype}, {"shape", p.shape}});
    return array;
  };
  out["inputs"] = ports(m.inputs);
  out["outputs"] = ports(m.outputs);
  out["op_counts"] = m.op_counts;
  out["parameters"] = m.parameters;
  out["prunable_parameters"] = m.prunable_parameters;
  out["operations"] = m.operations;
  out["stored_bytes"] = m.stored_bytes;
  out["dense_bytes"] = m.dense_bytes;
  out["file_bytes"] = m.file_bytes;
  out["sparsity"] = optional_json(m.sparsity);
  out["prunable_sparsity"] = optional_json(m.prunable_sparsity);
  for (auto& w : m.weights)
    out["weights"].push_back({{"name", w.name}, {"layer", w.layer}, {"op", w.op}, {"shape", w.shape}, {"rows", w.rows}, {"cols", w.cols}, {"encoding", w.encoding}, {"pattern", w.pattern},
                              {"format", w.format}, {"prunable", w.prunable}, {"not_prunable_because", w.not_prunable_because}, {"parameters", w.parameters}, {"stored_bytes", w.stored_bytes},
                              {"dense_bytes", w.dense_bytes}, {"operations", w.operations}, {"sparsity", optional_json(w.sparsity)}, {"recognised_pattern", w.recognised_pattern},
                              {"format_bytes", w.format_bytes}, {"break_even", w.break_even}, {"max_magnitude", optional_json(w.max_magnitude)}});
  return dump(out);
}

std::string to_json(const VerifyReport& r) {
  Json out = {{"original", r.original}, {"model", r.model}, {"verified", r.ok()}, {"problems", r.problems}, {"parameters", r.parameters}, {"zeros", r.zeros},
              {"pattern_violations", r.pattern_violations}, {"changed_outside_mask", r.changed_outside_mask}, {"quantized", r.quantized}, {"masks", r.masks}, {"masks_unchanged", r.masks_unchanged},
              {"max_output_difference", optional_json(r.max_output_difference)},
              {"relative_output_difference", optional_json(r.relative_output_difference)}, {"weights", Json::array()}};
  for (auto& w : r.weights)
    out["weights"].push_back({{"name", w.name}, {"pattern", w.pattern}, {"parameters", w.parameters}, {"zeros", w.zeros}, {"sparsity", w.sparsity}, {"violations", w.violations},
                              {"nonzero_under_mask", w.nonzero_under_mask}, {"changed_kept", w.changed_kept},
                              {"encoding", w.encoding}, {"quantized", w.quantized}, {"largest_rounding", w.largest_rounding}, {"revived", w.revived}, {"was_pruned", w.was_pruned},
                              {"same_mask", w.same_mask}});
  return dump(out);
}

std::string to_json(const EvaluateReport& r) {
  return dump({{"protocol", r.protocol}, {"model", r.model}, {"dataset", r.dataset}, {"metric", r.metric}, {"metrics", r.metrics}, {"settings", r.settings}, {"items", r.items}, {"seconds", r.seconds}});
}

std::string to_json(const GenerateResult& r) {
  return dump({{"text", r.text}, {"prompt_tokens", r.prompt_tokens}, {"new_tokens", r.new_tokens}, {"load_seconds", r.load_seconds}, {"prefill_seconds", r.prefill_seconds},
               {"decode_seconds", r.decode_seconds}, {"stopped_by", r.stopped_by}});
}

std::string to_json(const RunArraysResult& r) {
  Json out = {{"seconds", r.seconds}, {"outputs", Json::array()}};
  for (auto& o : r.outputs) out["outputs"].push_back({{"name", o.name}, {"file", o.file}, {"dtype", o.dtype}, {"shape", o.shape}});
  return dump(out);
}

std::string to_json(const BenchReport& r) {
  Json out = {{"model", r.model}, {"versus", r.versus}, {"cpu", r.cpu}, {"isa", r.isa}, {"packed_bytes", r.packed_bytes}, {"versus_packed_bytes", r.versus_packed_bytes}, {"rows", Json::array()},
              {"layers", Json::array()}};
  for (auto& row : r.rows)
    out["rows"].push_back({{"phase", row.phase}, {"batch", row.batch}, {"threads", row.threads}, {"median_ms", row.median_ms}, {"p90_ms", row.p90_ms}, {"versus_median_ms", row.versus_median_ms},
                           {"versus_p90_ms", row.versus_p90_ms}, {"speedup", row.speedup}, {"items_per_second", row.items_per_second}, {"versus_items_per_second", row.versus_items_per_second}});
  for (auto& l : r.layers)
    out["layers"].push_back({{"node", l.node}, {"op", l.op}, {"kernel", l.kernel}, {"microseconds", l.microseconds}, {"versus_kernel", l.versus_kernel},
                             {"versus_microseconds", l.versus_microseconds}, {"problem", l.problem}, {"reason", l.reason}});
  return dump(out);
}

std::string to_json(const ConvertReport& r) {
  return dump({{"from", r.from}, {"to", r.to}, {"output", r.output}, {"bytes", r.bytes}, {"weights", r.weights}, {"zeros", r.zeros}, {"needs_attention", r.needs_attention}});
}

std::string to_json(const DemoReport& r) {
  Json out = {{"cpu", r.cpu}, {"isa", r.isa}, {"threads", r.threads}, {"quality", Json::array()}, {"speed", Json::array()}};
  for (auto& q : r.quality) out["quality"].push_back({{"pattern", q.pattern}, {"sparsities", q.sparsities}, {"errors", q.errors}});
  for (auto& s : r.speed)
    out["speed"].push_back({{"pattern", s.pattern}, {"sparsity", s.sparsity}, {"format", s.format}, {"kernel", s.kernel}, {"dense_bytes", s.dense_bytes}, {"bytes", s.bytes}, {"dense_ms", s.dense_ms},
                            {"ms", s.ms}, {"speedup", s.speedup}});
  return dump(out);
}

}  // namespace lacuna
