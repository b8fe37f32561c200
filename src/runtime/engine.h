// The two executors behind a Session.
#pragma once

#include <memory>

#include "runtime/inputs.h"
#include "runtime/kv_cache.h"
#include "runtime/session.h"

namespace lacuna {

// One run as the executors see it.
struct RunCall {
  const BoundInputs& inputs;
  KvCache& cache;
  const Session::Observer* observer = nullptr;           // may be null
  std::vector<Session::ProfileLine>* profile = nullptr;  // may be null
};

class Engine {
 public:
  virtual ~Engine() = default;
  // Values of graph.outputs(), in order, in the dtypes the Graph declares. Reserves the cache and writes new keys and values into it;
  // the caller advances it by `new_tokens`.
  virtual std::vector<Tensor> run(const RunCall& call, int64_t& new_tokens) = 0;
  // What a run does only the first time.
  virtual void prepare(const RunCall& call) = 0;
  virtual const std::vector<PlanLine>& plan() const = 0;
  virtual int64_t packed_bytes() const = 0;
  virtual int64_t arena_bytes() const = 0;
};

std::unique_ptr<Engine> make_reference_engine(std::shared_ptr<const Graph> graph);
std::unique_ptr<Engine> make_runtime_engine(std::shared_ptr<const Graph> graph, const SessionOptions& options);

// A weight as the executors compute with it: plain integers as they are, everything else decoded to f32.
Tensor weight_value(const Weight& weight);

}  // namespace lacuna
