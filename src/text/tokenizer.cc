// The pipeline: what each part hands to the next.
#include "text/tokenizer.h"

#include <algorithm>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/components.h"
#include "text/unicode.h"

namespace lacuna {

using text::AddedToken;
using text::Parts;
using text::Scratch;
using text::Segment;

namespace text {

void Scratch::shrink() {
  constexpr size_t kKeep = size_t(1) << 20;  // elements
  auto release = [](auto& buffer) {
    if (buffer.capacity() > kKeep) buffer = {};
  };
  for (std::string& b : buffers) release(b);
  release(input);
  release(segment);
  release(rewritten);
  release(symbols);
  release(candidates);
  release(lattice);
}

void Parts::normalize(std::string& text, bool& dropped_front, Scratch& scratch) const {
  size_t before = text.size();
  for (const auto& normalizer : normalizers) {
    normalizer->apply(text, dropped_front, scratch);
    check_growth(before, text.size(), "Sequence");
  }
}

void Parts::encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (word.size() > WordCache::kMaxBytes) return model->tokenize(word, scratch, ids);
  uint64_t hash = hash_bytes(word);
  auto known = scratch.cache.find(word, hash);
  if (!known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return;
  }
  size_t before = ids.size();
  model->tokenize(word, scratch, ids);
  scratch.cache.insert(word, hash, std::span(ids).subspan(before));
}

void Parts::encode_piece(const Piece& piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  scratch.buffers.resize(2 * pre_tokenizers.size());
  Sink(*this, 0, scratch, ids)(piece);
}

std::string& Sink::buffer(int which) const { return scratch_.buffers[2 * (stage_ - 1) + size_t(which)]; }

void Sink::operator()(const Piece& piece) const {
  if (piece.text.empty()) return;
  if (scratch_.budget <= piece.text.size()) throw InvalidData("the pre-tokenizers make the text grow more than any real tokenizer does");
  scratch_.budget -= piece.text.size() + 1;
  if (stage_ < parts_.pre_tokenizers.size()) return parts_.pre_tokenizers[stage_]->split(piece, Sink(parts_, stage_ + 1, scratch_, ids_));
  if (int32_t id = parts_.model->whole(piece.text); id >= 0) return ids_.push_back(id);
  for (size_t begin = 0; begin < piece.text.size();) {
    size_t end = parts_.model->independent_end(piece.text, begin);
    parts_.encode_word(piece.text.substr(begin, end - begin), scratch_, ids_);
    begin = end;
  }
}

std::vector<int32_t> Parts::encode_text(std::string_view bytes, Scratch& scratch) const {
  if (bytes.size() > INT32_MAX / 4) throw InvalidArgument(cat("a text of ", bytes.size(), " bytes, wanted at most ", INT32_MAX / 4));
  std::vector<int32_t> ids;
  std::string_view text = bytes;
  if (valid_utf8_prefix(bytes) != bytes.size()) {
    scratch.input.clear();
    append_lossy(scratch.input, bytes);
    text = scratch.input;
  }
  ids.reserve(text.size() / 4 + 8);
  scratch.budget = (pre_tokenizers.size() + 1) * growth_limit(text.size());
  added.split(text, false, [&](size_t begin, size_t end, int32_t id) {
    if (id >= 0) return ids.push_back(id);
    std::string_view segment = text.substr(begin, end - begin);
    bool dropped_front = false;
    if (!normalizers.empty()) {
      scratch.segment = segment;
      normalize(scratch.segment, dropped_front, scratch);
      segment = scratch.segment;
    }
    added.split(segment, true, [&](size_t from, size_t to, int32_t token) {
      if (token >= 0) return ids.push_back(token);
      bool front = begin == 0 && from == 0 && !dropped_front;
      encode_piece({segment.substr(from, to - from), front, front}, scratch, ids);
    });
  });
  return ids;
}

void finish(Parts& parts) {
  Scratch scratch;
  parts.added.finish([&](std::string content) {
    bool dropped_front = false;
    parts.normalize(content, dropped_front, scratch);
    return content;
  });
}

}  // namespace text

// Borrows idle working memory, or makes new one: as many exist as there were encodes at the same time.
struct Tokenizer::ScratchLease {
  explicit ScratchLease(Parts& p) : parts(p) {
    std::lock_guard lock(parts.mutex);
    if (!parts.idle.empty()) {
      scratch = std::move(parts.idle.back());
      parts.idle.pop_back();
    }
    if (!scratch) scratch = std::make_unique<Scratch>();
  }
  ~ScratchLease() {
    scratch->shrink();
    std::lock_guard lock(parts.mutex);
    parts.idle.push_back(std::move(scratch));
  }
  Parts& parts;
  std::unique_ptr<Scratch> scratch;
};

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  ScratchLease lease(*parts_);
  std::vector<int32_t> ids = parts_->encode_text(text, *lease.scratch);
  if (parts_->post_processors.empty()) return ids;
  std::vector<Segment> segments(1);
  segments[0].ids = std::move(ids);
  segments[0].type_ids.resize(segments[0].ids.size());
  for (const auto& processor : parts_->post_processors) processor->apply(segments, add_special_tokens);
  if (segments.size() == 1) return std::move(segments[0].ids);
  ids.clear();
  for (const Segment& s : segments) ids.insert(ids.end(), s.ids.begin(), s.ids.end());
  return ids;
}

Tokenizer::Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special_tokens) const {
  ScratchLease lease(*parts_);
  std::vector<Segment> segments(2);
  segments[0].ids = parts_->encode_text(first, *lease.scratch);
  segments[0].type_ids.assign(segments[0].ids.size(), 0);
  segments[1].ids = parts_->encode_text(second, *lease.scratch);
  segments[1].type_ids.assign(segments[1].ids.size(), 1);
  for (const auto& processor : parts_->post_processors) processor->apply(segments, add_special_tokens);
  Encoding encoding;
  for (const Segment& s : segments) {
    encoding.ids.insert(encoding.ids.end(), s.ids.begin(), s.ids.end());
    encoding.type_ids.insert(encoding.type_ids.end(), s.type_ids.begin(), s.type_ids.end());
  }
  return encoding;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (int32_t id : ids) {
    auto token = id_to_token(id);
    if (!token || (skip_special_tokens && parts_->added.is_special(*token))) continue;
    tokens.push_back(std::move(*token));
  }
  std::string out;
  if (parts_->has_decoder) {
    ScratchLease lease(*parts_);
    size_t before = text::total_size(tokens);
    for (const auto& decoder : parts_->decoders) {
      decoder->apply(tokens, *lease.scratch);
      text::check_growth(before, text::total_size(tokens), "of the decoders");
    }
    for (const std::string& token : tokens) out += token;
  } else {
    for (size_t i = 0; i < tokens.size(); i++) out += (i ? " " : "") + tokens[i];
  }
  return out;
}

int64_t Tokenizer::vocab_size() const {
  const auto& tokens = parts_->added.tokens();
  const auto& model = parts_->model->vocabulary();
  return int64_t(model.size()) + std::count_if(tokens.begin(), tokens.end(), [&](const AddedToken& t) { return model.find(t.content) < 0; });
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const AddedToken* added = parts_->added.by_content(token)) return added->id;
  int32_t id = parts_->model->vocabulary().find(token);
  if (id < 0) return std::nullopt;
  return id;
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  if (const AddedToken* added = parts_->added.by_id(id)) return added->shown;
  const auto& model = parts_->model->vocabulary();
  if (!model.has(id)) return std::nullopt;
  return std::string(model.token(id));
}

std::string Tokenizer::hash() const { return parts_->hash; }

}  // namespace lacuna
