// Opening a model for running: its Session and its tokenizer.
#pragma once

#include <memory>
#include <string>

#include "io/model.h"
#include "runtime/session.h"
#include "text/tokenizer.h"

namespace lacuna {

// "runtime" | "reference"; throws InvalidArgument listing both.
Executor executor_named(const std::string& name);

// Throws NotFound if the model has no tokenizer, naming what was looked for.
std::unique_ptr<Tokenizer> open_tokenizer(const Model& model);

// Figures of more threads than CPUs are worth nothing. Throws InvalidArgument unless 1 <= threads <= the CPUs that this process may run on.
void require_threads(int threads);

// Token ids that end a text, from the model's configuration; may be empty.
std::vector<int32_t> end_of_sequence_ids(const Graph& graph);

// The most tokens the model takes (metadata "max_tokens"); 0 if unstated.
int64_t max_tokens_of(const Graph& graph);

}  // namespace lacuna
