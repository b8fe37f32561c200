// The JSON form of every result: the same field names as the public structs.
#include "lacuna/json.h"

#include <nlohmann/json.hpp>

#include "lacuna/advise.h"
#include "lacuna/bench.h"
#include "lacuna/convert.h"
#include "lacuna/demo.h"
#include "lacuna/evaluate.h"
#include "lacuna/inspect.h"
#include "lacuna/kernel_bench.h"
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

Json positive_json(double value) { return value > 0 ? Json(value) : Json(nullptr); }

}  // namespace

std::string error_to_json(std::string_view code, std::string_view message) {
  Json out;
  out["error"] = {{"code", code}, {"message", message}};
  return dump(out);
}

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
  out["dimensions"] = m.dimensions;
  out["stored_bytes"] = m.stored_bytes;
  out["dense_bytes"] = m.dense_bytes;
  out["file_bytes"] = m.file_bytes;
  out["sparsity"] = optional_json(m.sparsity);
  out["prunable_sparsity"] = optional_json(m.prunable_sparsity);
  for (auto& w : m.weights)
    out["weights"].push_back({{"name", w.name},
                              {"layer", w.layer},
                              {"op", w.op},
                              {"shape", w.shape},
                              {"rows", w.rows},
                              {"cols", w.cols},
                              {"encoding", w.encoding},
                              {"pattern", w.pattern},
                              {"format", w.format},
                              {"prunable", w.prunable},
                              {"not_prunable_because", w.not_prunable_because},
                              {"parameters", w.parameters},
                              {"stored_bytes", w.stored_bytes},
                              {"dense_bytes", w.dense_bytes},
                              {"operations", w.operations},
                              {"sparsity", optional_json(w.sparsity)},
                              {"recognised_pattern", w.recognised_pattern},
                              {"format_bytes", w.format_bytes},
                              {"break_even", w.break_even},
                              {"max_magnitude", optional_json(w.max_magnitude)},
                              {"not_finite", optional_json(w.not_finite)}});
  return dump(out);
}

std::string to_json(const VerifyReport& r) {
  Json out = {{"original", r.original},
              {"model", r.model},
              {"verified", r.ok()},
              {"problems", r.problems},
              {"parameters", r.parameters},
              {"zeros", r.zeros},
              {"pattern_violations", r.pattern_violations},
              {"changed_outside_mask", r.changed_outside_mask},
              {"quantized", r.quantized},
              {"masks", r.masks},
              {"masks_unchanged", r.masks_unchanged},
              {"max_output_difference", optional_json(r.max_output_difference)},
              {"relative_output_difference", optional_json(r.relative_output_difference)},
              {"weights", Json::array()}};
  for (auto& w : r.weights)
    out["weights"].push_back({{"name", w.name},
                              {"pattern", w.pattern},
                              {"parameters", w.parameters},
                              {"zeros", w.zeros},
                              {"sparsity", w.sparsity},
                              {"violations", w.violations},
                              {"changed_kept", w.changed_kept},
                              {"encoding", w.encoding},
                              {"quantized", w.quantized},
                              {"largest_rounding", w.largest_rounding},
                              {"revived", w.revived},
                              {"was_pruned", w.was_pruned},
                              {"same_mask", w.same_mask}});
  return dump(out);
}

std::string to_json(const EvaluateReport& r) {
  return dump({{"protocol", r.protocol},
               {"model", r.model},
               {"dataset", r.dataset},
               {"metric", r.metric},
               {"metrics", r.metrics},
               {"settings", r.settings},
               {"items", r.items},
               {"needs_attention", r.needs_attention},
               {"seconds", r.seconds}});
}

std::string to_json(const GenerateResult& r) {
  return dump({{"text", r.text},
               {"prompt_tokens", r.prompt_tokens},
               {"new_tokens", r.new_tokens},
               {"load_seconds", r.load_seconds},
               {"pack_seconds", r.pack_seconds},
               {"prefill_seconds", r.prefill_seconds},
               {"decode_seconds", r.decode_seconds},
               {"stopped_by", r.stopped_by}});
}

std::string to_json(const RunArraysResult& r) {
  Json out = {{"load_seconds", r.load_seconds}, {"pack_seconds", r.pack_seconds}, {"seconds", r.seconds}, {"outputs", Json::array()}};
  for (auto& o : r.outputs) out["outputs"].push_back({{"name", o.name}, {"file", o.file}, {"dtype", o.dtype}, {"shape", o.shape}});
  return dump(out);
}

std::string to_json(const BenchReport& r) {
  Json out = {{"model", r.model},      {"versus", r.versus},      {"cpu", r.cpu},
              {"isa", r.isa},          {"inputs", r.inputs},      {"precisions", Json::array()},
              {"rows", Json::array()}, {"layers", Json::array()}, {"needs_attention", r.needs_attention}};
  for (auto& p : r.precisions)
    out["precisions"].push_back({{"name", p.name},
                                 {"own", p.own},
                                 {"share", p.share},
                                 {"packed_bytes", p.packed_bytes},
                                 {"versus_packed_bytes", p.versus_packed_bytes},
                                 {"output_difference", optional_json(p.output_difference)}});
  for (auto& row : r.rows)
    out["rows"].push_back({{"precision", row.precision},
                           {"phase", row.phase},
                           {"batch", row.batch},
                           {"threads", row.threads},
                           {"tokens", row.tokens},
                           {"past_tokens", row.past_tokens},
                           {"median_ms", row.median_ms},
                           {"p90_ms", row.p90_ms},
                           {"versus_median_ms", row.versus_median_ms},
                           {"versus_p90_ms", row.versus_p90_ms},
                           {"same_plan", row.same_plan},
                           {"speedup", optional_json(row.speedup)},
                           {"speedup_over_f32", optional_json(row.speedup_over_f32)},
                           {"items_per_second", row.items_per_second},
                           {"versus_items_per_second", row.versus_items_per_second}});
  for (auto& l : r.layers)
    out["layers"].push_back({{"precision", l.precision},
                             {"phase", l.phase},
                             {"node", l.node},
                             {"op", l.op},
                             {"kernel", l.kernel},
                             {"format", l.format},
                             {"packed_bytes", l.packed_bytes},
                             {"microseconds", l.microseconds},
                             {"floor_us", l.floor_us},
                             {"floor_share", l.floor_share},
                             {"versus_kernel", l.versus_kernel},
                             {"versus_packed_bytes", l.versus_packed_bytes},
                             {"versus_microseconds", l.versus_microseconds},
                             {"measured_gain", optional_json(l.measured_gain)},
                             {"problem", l.problem},
                             {"reason", l.reason}});
  return dump(out);
}

namespace {

Json json_of(const KernelReport& r) {
  Json out = {{"problem", r.problem},
              {"kernel", r.kernel},
              {"isa", r.isa},
              {"threads", r.threads},
              {"median_us", r.median_us},
              {"dense_median_us", r.dense_median_us},
              {"dense_library", r.dense_library},
              {"speedup", r.speedup},
              {"own_dense", r.own_dense},
              {"own_dense_median_us", r.own_dense_median_us},
              {"speedup_over_own_dense", r.speedup_over_own_dense},
              {"floor_us", r.floor_us},
              {"floor_share", r.floor_share},
              {"max_error", r.max_error},
              {"sparsity", r.sparsity},
              {"bytes", r.bytes},
              {"spread_us", r.spread_us},
              {"best_us", r.best_us},
              {"dense_best_us", r.dense_best_us},
              {"runs", r.runs},
              {"cpu", r.cpu},
              {"contenders", Json::array()},
              {"refusals", r.refusals}};
  for (auto& t : r.all)
    out["contenders"].push_back({{"name", t.name},
                                 {"sparse", t.sparse},
                                 {"ours", t.ours},
                                 {"median_us", t.median_us},
                                 {"spread_us", t.spread_us},
                                 {"best_us", t.best_us},
                                 {"max_error", t.max_error},
                                 {"bytes", t.bytes}});
  return out;
}

}  // namespace

std::string to_json(const KernelReport& r) { return dump(json_of(r)); }

std::string to_json(const std::vector<KernelReport>& reports) {
  Json out = Json::array();
  for (auto& r : reports) out.push_back(json_of(r));
  return dump(out);
}

std::string to_json(const MachineReport& m) {
  return dump({{"cpu", m.cpu},
               {"isa", m.isa},
               {"threads", m.threads},
               {"l1_bytes", m.l1_bytes},
               {"l2_bytes", m.l2_bytes},
               {"l3_bytes", m.l3_bytes},
               {"read_one_gb_s", m.read_one_gb_s},
               {"read_all_gb_s", m.read_all_gb_s},
               {"f32_one_gop_s", positive_json(m.f32_one_gop_s)},
               {"f32_all_gop_s", positive_json(m.f32_all_gop_s)},
               {"bf16_one_gop_s", positive_json(m.bf16_one_gop_s)},
               {"bf16_all_gop_s", positive_json(m.bf16_all_gop_s)},
               {"int8_one_gop_s", positive_json(m.int8_one_gop_s)},
               {"int8_all_gop_s", positive_json(m.int8_all_gop_s)},
               {"amx_bf16_one_gop_s", positive_json(m.amx_bf16_one_gop_s)},
               {"amx_bf16_all_gop_s", positive_json(m.amx_bf16_all_gop_s)},
               {"amx_int8_one_gop_s", positive_json(m.amx_int8_one_gop_s)},
               {"amx_int8_all_gop_s", positive_json(m.amx_int8_all_gop_s)}});
}

std::string to_json(const AdviseReport& r) {
  Json out = {{"model", r.model},        {"cpu", r.cpu},           {"isa", r.isa}, {"threads", r.threads}, {"batch", r.batch},
              {"layers", Json::array()}, {"totals", Json::array()}};
  for (auto& l : r.layers) {
    Json layer = {
        {"node", l.node},         {"weight", l.weight}, {"phase", l.phase}, {"problem", l.problem}, {"dense_microseconds", l.dense_microseconds},
        {"curves", Json::array()}};
    for (auto& c : l.curves) {
      Json curve = {{"pattern", c.pattern},
                    {"precision", c.precision},
                    {"worthwhile", c.worthwhile},
                    {"starts_at", optional_json(c.starts_at)},
                    {"points", Json::array()}};
      for (auto& p : c.points)
        curve["points"].push_back({{"sparsity", p.sparsity},
                                   {"kernel", p.kernel},
                                   {"microseconds", p.microseconds},
                                   {"dense_kernel", p.dense_kernel},
                                   {"dense_microseconds", p.dense_microseconds},
                                   {"speedup", p.speedup}});
      layer["curves"].push_back(std::move(curve));
    }
    out["layers"].push_back(std::move(layer));
  }
  for (auto& t : r.totals)
    out["totals"].push_back({{"phase", t.phase},
                             {"pattern", t.pattern},
                             {"precision", t.precision},
                             {"sparsity", t.sparsity},
                             {"milliseconds", t.milliseconds},
                             {"speedup", t.speedup},
                             {"speedup_now", t.speedup_now}});
  return dump(out);
}

std::string to_json(const ConvertReport& r) {
  Json out = {{"from", r.from},
              {"to", r.to},
              {"output", r.output},
              {"bytes", r.bytes},
              {"weights", r.weights},
              {"zeros", r.zeros},
              {"needs_attention", r.needs_attention}};
  if (r.onnx_before) out["nodes_before"] = r.onnx_before->nodes, out["opset_before"] = r.onnx_before->opset;
  if (r.onnx_after) out["nodes"] = r.onnx_after->nodes, out["opset"] = r.onnx_after->opset;
  return dump(out);
}

std::string to_json(const DemoReport& r) {
  Json out = {{"cpu", r.cpu}, {"isa", r.isa}, {"threads", r.threads}, {"quality", Json::array()}, {"speed", Json::array()}};
  for (auto& q : r.quality) out["quality"].push_back({{"pattern", q.pattern}, {"sparsities", q.sparsities}, {"errors", q.errors}});
  for (auto& s : r.speed)
    out["speed"].push_back({{"pattern", s.pattern},
                            {"sparsity", s.sparsity},
                            {"format", s.format},
                            {"kernel", s.kernel},
                            {"dense_bytes", s.dense_bytes},
                            {"bytes", s.bytes},
                            {"dense_ms", s.dense_ms},
                            {"ms", s.ms},
                            {"speedup", s.speedup}});
  return dump(out);
}

}  // namespace lacuna
