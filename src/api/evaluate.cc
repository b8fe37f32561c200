#include "lacuna/evaluate.h"

#include <chrono>
#include <cmath>

#include "api/open.h"
#include "base/cat.h"
#include "base/hash.h"
#include "data/csv.h"
#include "evaluate/accuracy.h"
#include "evaluate/perplexity.h"
#include "evaluate/similarity.h"
#include "lacuna/error.h"
#include "text/unicode.h"

namespace lacuna {
namespace {

void evaluate_accuracy(const Model& model, Session& session, const EvaluateOptions& options, EvaluateReport& report, Progress* progress) {
  ImagePreprocessing how = image_preprocessing(*model.graph, options.resize, options.crop, options.mean, options.deviation, model.path.string());
  ImageDataset data(options.dataset, options.limit);
  int64_t batch = options.batch ? options.batch : image_batch_size(*model.graph, 100);
  AccuracyResult r = accuracy(session, data, how, batch, progress, model.path.string());
  report.metrics = {{"top1", r.top1}, {"top5", r.top5}};
  report.metric = "top1";
  report.items = r.images;
  report.settings["dataset_hash"] = r.dataset_hash;
  report.settings["preprocessing"] = how.describe();
  report.settings["classes"] = cat(data.classes().size());
}

// A whole text. What is no text at all is an error, what is not quite UTF-8 is noted.
std::string read_text(const std::filesystem::path& path, EvaluateReport& report) {
  if (std::filesystem::is_directory(path)) throw InvalidArgument(cat(path, ": is a directory, a text file wanted"));
  std::string text = read_text_file(path);
  if (text.empty()) throw InvalidData(cat(path, ": is empty"));
  if (size_t at = text.find('\0'); at != text.npos)
    throw InvalidData(cat(path, ": byte ", at, " is zero, so this is no text (UTF-16 must be converted to UTF-8 first)"));
  if (size_t at = text::valid_utf8_prefix(text); at != text.size())
    report.needs_attention.push_back(cat(path, ": is not UTF-8 from byte ", at, " on; such bytes count as U+FFFD, and the metric is of that text"));
  return text;
}

void evaluate_perplexity(const Model& model, Session& session, const EvaluateOptions& options, EvaluateReport& report, Progress* progress) {
  auto tokenizer = open_tokenizer(model);
  std::string text = read_text(options.dataset, report);
  std::vector<int32_t> tokens = tokenizer->encode(text);
  int64_t window = options.max_seq_length, limit = max_tokens_of(*model.graph);
  if (limit) window = std::min(window, limit);
  if (int64_t(tokens.size()) < window)
    throw InvalidArgument(
        cat(options.dataset, ": has ", tokens.size(), " tokens, fewer than one window of ", window, "; --max-seq-length makes windows shorter"));
  PerplexityResult r = perplexity(session, tokens, window, options.max_windows, progress, model.path.string());
  report.metrics = {{"perplexity", r.perplexity}};
  report.metric = "perplexity";
  report.items = r.scored_tokens;
  report.settings["dataset_hash"] = hash_hex(text);
  report.settings["tokenizer_hash"] = tokenizer->hash();
  report.settings["window_tokens"] = cat(r.window_tokens, r.window_tokens < options.max_seq_length ? " (capped to the model's maximum)" : "");
  report.settings["windows"] = cat(r.windows, " of ", int64_t(tokens.size()) / r.window_tokens);
  report.settings["text_tokens"] = cat(tokens.size());
  report.settings["rule"] = "one string, tokenized once with its own special tokens; windows do not overlap; the first token of each is not scored";
}

// Embeddings of sentences, one batch: the output "sentence_embedding", else the mean of the last hidden state over the mask, normalised.
std::vector<std::vector<float>> embed(Session& session, const std::vector<std::vector<int32_t>>& batch) {
  size_t longest = 0;
  for (auto& ids : batch) longest = std::max(longest, ids.size());
  Shape shape = {int64_t(batch.size()), int64_t(longest)};
  Tensor ids(DType::kS64, shape), mask(DType::kS64, shape), types(DType::kS64, shape);
  for (size_t b = 0; b < batch.size(); b++)
    for (size_t t = 0; t < batch[b].size(); t++) {
      ids.mutable_data<int64_t>()[b * longest + t] = batch[b][t];
      mask.mutable_data<int64_t>()[b * longest + t] = 1;
    }
  TensorMap inputs;
  for (ValueId id : session.graph().inputs()) {
    const std::string& name = session.graph().value(id).name;
    inputs[name] = name.find("mask") != std::string::npos ? mask : name.find("type") != std::string::npos ? types : ids;
  }
  TensorMap outputs = session.run(inputs);
  auto sentence = outputs.find("sentence_embedding");
  Tensor hidden = (sentence != outputs.end() ? sentence->second : outputs.at(session.graph().outputs()[0].name)).to(DType::kF32);
  std::vector<std::vector<float>> out(batch.size());
  int64_t width = hidden.dim(-1);
  for (size_t b = 0; b < batch.size(); b++) {
    out[b].assign(size_t(width), 0);
    if (hidden.rank() == 2) {
      auto row = hidden.data<float>().subspan(b * size_t(width), size_t(width));
      out[b].assign(row.begin(), row.end());
    } else {
      for (size_t t = 0; t < batch[b].size(); t++)
        for (int64_t i = 0; i < width; i++)
          out[b][size_t(i)] += hidden.data<float>()[(b * longest + t) * size_t(width) + size_t(i)] / float(batch[b].size());
    }
  }
  return out;
}

void evaluate_similarity(const Model& model, Session& session, const EvaluateOptions& options, EvaluateReport& report, Progress* progress) {
  if (!model.graph->states().empty())
    throw Unsupported(cat(model.path, ": protocol similarity compares the pooled embeddings of an encoder; this model is a decoder (",
                          model.graph->family, "), which protocol perplexity measures"));
  auto tokenizer = open_tokenizer(model);
  std::string text = read_text(options.dataset, report);
  auto rows = parse_csv(text, options.dataset.string());
  std::vector<std::vector<int32_t>> sentences;
  std::vector<double> scores;
  size_t limit = size_t(max_tokens_of(*model.graph));
  for (size_t i = 0; i < rows.size(); i++) {
    if (rows[i].size() != 3)
      throw InvalidData(cat(options.dataset, ": row ", i + 1, " has ", rows[i].size(), " fields, wanted sentence, sentence, score"));
    char* end = nullptr;
    double score = std::strtod(rows[i][2].c_str(), &end);
    if (end == rows[i][2].c_str() || *end) {
      if (i == 0) continue;  // a header line
      throw InvalidData(cat(options.dataset, ": row ", i + 1, ": score '", rows[i][2], "' is no number"));
    }
    for (int side = 0; side < 2; side++) {
      auto ids = tokenizer->encode(rows[i][size_t(side)]);
      if (limit && ids.size() > limit) {  // keep the closing special token
        ids[limit - 1] = ids.back();
        ids.resize(limit);
      }
      sentences.push_back(std::move(ids));
    }
    scores.push_back(score);
    if (options.limit && int64_t(scores.size()) >= options.limit) break;
  }
  if (scores.size() < 2) throw InvalidArgument(cat(options.dataset, ": has ", scores.size(), " scored pairs, at least 2 wanted"));
  // Sentences of like length share a batch.
  std::vector<size_t> order(sentences.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sentences[a].size() < sentences[b].size(); });
  size_t batch = size_t(options.batch ? options.batch : 32);
  std::vector<std::vector<float>> embeddings(sentences.size());
  for (size_t first = 0; first < order.size(); first += batch) {
    if (progress) progress->update("embedding", int64_t(first), int64_t(order.size()));
    size_t count = std::min(batch, order.size() - first);
    std::vector<std::vector<int32_t>> inputs;
    for (size_t i = 0; i < count; i++) inputs.push_back(sentences[order[first + i]]);
    auto vectors = embed(session, inputs);
    for (size_t i = 0; i < count; i++) embeddings[order[first + i]] = std::move(vectors[i]);
  }
  std::vector<double> cosines;
  for (size_t i = 0; i < scores.size(); i++) cosines.push_back(cosine(embeddings[2 * i], embeddings[2 * i + 1]));
  report.metrics = {{"spearman", spearman(cosines, scores)}};
  report.metric = "spearman";
  report.items = int64_t(scores.size());
  report.settings["dataset_hash"] = hash_hex(text);
  report.settings["tokenizer_hash"] = tokenizer->hash();
}

struct Protocol {
  ProtocolChoice choice;
  void (*run)(const Model&, Session&, const EvaluateOptions&, EvaluateReport&, Progress*);
};
const std::vector<Protocol>& table() {
  static const std::vector<Protocol> protocols = {
      {{"top1", "top-1 and top-5 accuracy over labelled images, CLASS/file.jpg in a folder or archive"}, evaluate_accuracy},
      {{"perplexity", "of a language model on a text file, in windows that do not overlap"}, evaluate_perplexity},
      {{"similarity", "Spearman correlation of sentence cosine with scores, csv of sentence, sentence, score"}, evaluate_similarity}};
  return protocols;
}

}  // namespace

std::vector<ProtocolChoice> protocols() {
  std::vector<ProtocolChoice> out;
  for (auto& p : table()) out.push_back(p.choice);
  return out;
}

EvaluateReport evaluate(const std::filesystem::path& path, const EvaluateOptions& options, Progress* progress) {
  const Protocol* protocol = nullptr;
  std::vector<std::string> known;
  for (auto& p : table()) {
    known.push_back(p.choice.name);
    if (p.choice.name == options.protocol) protocol = &p;
  }
  if (!protocol) throw InvalidArgument(cat("protocol '", options.protocol, "' is unknown; known: ", join(known)));
  if (options.batch < 0 || options.limit < 0 || options.max_windows < 0) throw InvalidArgument("batch, limit and max-windows must not be negative");
  Executor executor = executor_named(options.executor);
  if (!std::filesystem::exists(options.dataset)) throw NotFound(cat(options.dataset, ": no such dataset"));
  auto start = std::chrono::steady_clock::now();
  Model model = load_model(path);
  Session session(model.graph, {.executor = executor});
  EvaluateReport report{.protocol = options.protocol, .model = path.string(), .dataset = options.dataset.string()};
  report.settings["executor"] = options.executor;
  protocol->run(model, session, options, report, progress);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace lacuna
