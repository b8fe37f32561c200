// A sentencepiece model file is a protobuf message:
//   1 piece (repeated): 1 text, 2 score (float), 3 type
//   2 trainer:    3 model type (1 unigram, 2 BPE), 24 white space as suffix, 35 byte fallback, 40 unk, 41 bos, 42 eos id
//   3 normalizer: 2 character map, 3 add dummy prefix, 4 remove extra white space, 5 escape white space
#include "text/sentencepiece.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/charsmap.h"
#include "text/digest.h"
#include "text/hub_config.h"
#include "text/unicode.h"

namespace lacuna::text {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";

// Reads the fields of one protobuf message.
class Message {
 public:
  Message(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  struct Field {
    uint64_t number = 0, value = 0;  // value: of a varint or fixed field
    std::string_view bytes;          // of a length-delimited field
    bool boolean() const { return value != 0; }
    int32_t integer() const { return int32_t(int64_t(value)); }
  };

  bool next(Field& field) {
    if (at_ == bytes_.size()) return false;
    uint64_t key = varint();
    field = {.number = key >> 3};
    switch (key & 7) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: bad(cat("wire type ", key & 7));
    }
    return true;
  }

 private:
  [[noreturn]] void bad(std::string_view what) const {
    throw InvalidData(cat(name_, ": not a sentencepiece model: ", what, " at byte ", at_, " of a message of ", bytes_.size()));
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) bad("cut number");
      uint8_t b = uint8_t(bytes_[at_++]);
      value |= uint64_t(b & 0x7f) << shift;
      if (b < 0x80) return value;
    }
    bad("number of more than ten bytes");
  }
  uint64_t fixed(size_t size) {
    std::string_view raw = take(size);
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | uint8_t(raw[i]);
    return value;
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) bad(cat("field of ", size, " bytes"));
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  std::string_view bytes_, name_;
  size_t at_ = 0;
};

void read_piece(std::string_view bytes, std::string_view name, SentencePieceModel& model) {
  std::string piece;
  float score = 0;
  int32_t type = kNormal;
  Message message(bytes, name);
  for (Message::Field f; message.next(f);) {
    if (f.number == 1) {
      piece.clear();
      append_lossy(piece, f.bytes);
    }
    if (f.number == 2) score = std::bit_cast<float>(uint32_t(f.value));
    if (f.number == 3) type = f.integer();
  }
  model.pieces.push_back(std::move(piece));
  model.scores.push_back(score);
  model.types.push_back(type);
}

// Sentencepiece's own normalization: the longest match in the character map, spaces joined, marked and put in front.
class SentencePieceText final : public PreTokenizer {
 public:
  explicit SentencePieceText(const SentencePieceModel& model)
      : map_(model.charsmap),
        prefix_(model.prefix),
        remove_extra_(model.remove_extra_whitespaces),
        as_suffix_(model.whitespace_as_suffix),
        space_(model.escape_whitespaces ? kSpace : " ") {}

  void split(const Piece& piece, const Sink& next) const override {
    std::string_view rest = piece.text;
    size_t length = 0;
    if (remove_extra_) {
      while (!rest.empty() && front(rest, length) == " ") rest.remove_prefix(length);
    }
    if (rest.empty()) return;
    bool prefix = prefix_ == PrependScheme::kAlways || (prefix_ == PrependScheme::kFirst && piece.at_origin);
    std::string& out = next.buffer();
    out.clear();
    if (prefix && !as_suffix_) out += space_;
    bool after_space = remove_extra_;
    while (!rest.empty()) {
      std::string_view part = front(rest, length);
      rest.remove_prefix(length);
      while (after_space && part.starts_with(' ')) part.remove_prefix(1);
      if (part.empty()) continue;
      append(out, part);
      after_space = remove_extra_ && part.ends_with(' ');
      check_growth(piece.text.size(), out.size(), "of sentencepiece");
    }
    while (remove_extra_ && std::string_view(out).ends_with(space_)) out.resize(out.size() - space_.size());
    if (prefix && as_suffix_) out += space_;
    next({out, piece.at_origin, piece.first_char_at_origin});
  }

 private:
  // What the front of `text` becomes, and the bytes that takes.
  std::string_view front(std::string_view text, size_t& length) const {
    if (auto hit = map_.find(text, true)) {
      length = hit->length;
      return hit->replacement;
    }
    length = char_at(text, 0).length;
    return text.substr(0, length);
  }

  void append(std::string& out, std::string_view part) const {
    for (char c : part) {
      if (c == ' ') {
        out += space_;
      } else {
        out += c;
      }
    }
  }

  CharsMap map_;
  PrependScheme prefix_;
  bool remove_extra_, as_suffix_;
  std::string_view space_;
};

// Any two pieces that make a third may merge, the better the third one's score the sooner.
std::vector<Merge> merges_by_score(const Vocabulary& vocabulary, const SentencePieceModel& model) {
  auto mergeable = [&](int32_t id) { return id >= 0 && (model.types[size_t(id)] == kNormal || model.types[size_t(id)] == kUserDefined); };
  std::vector<float> ranked;
  for (size_t i = 0; i < model.pieces.size(); i++) {
    if (mergeable(int32_t(i))) ranked.push_back(model.scores[i]);
  }
  std::sort(ranked.begin(), ranked.end(), std::greater<>());
  ranked.erase(std::unique(ranked.begin(), ranked.end()), ranked.end());
  std::vector<Merge> merges;
  for (size_t i = 0; i < model.pieces.size(); i++) {
    int32_t id = int32_t(i);
    std::string_view piece = model.pieces[i];
    if (!mergeable(id) || vocabulary.find(piece) != id) continue;
    auto rank = uint32_t(std::lower_bound(ranked.begin(), ranked.end(), model.scores[i], std::greater<>()) - ranked.begin());
    for (size_t cut = 1; cut < piece.size(); cut++) {
      if (!is_char_start(piece[cut])) continue;
      int32_t left = vocabulary.find(piece.substr(0, cut)), right = vocabulary.find(piece.substr(cut));
      if (mergeable(left) && mergeable(right)) merges.push_back({left, right, id, rank});
    }
  }
  return merges;
}

std::unique_ptr<Model> make_model(Vocabulary vocabulary, const SentencePieceModel& model) {
  if (model.unigram) {
    UnigramOptions options{.byte_fallback = model.byte_fallback, .single_precision = true};
    if (model.unk >= 0) options.unk = model.unk;
    for (int32_t type : model.types) options.searched.push_back(type == kNormal || type == kUserDefined);
    return make_unigram(std::move(vocabulary), {model.scores.begin(), model.scores.end()}, std::move(options));
  }
  BpeOptions options{.fuse_unk = true, .byte_fallback = model.byte_fallback};
  if (model.unk >= 0) options.unk_token = model.pieces[size_t(model.unk)];
  std::vector<Merge> merges = merges_by_score(vocabulary, model);
  return make_bpe(std::move(vocabulary), merges, std::move(options));
}

}  // namespace

SentencePieceModel read_sentencepiece(std::string_view bytes, std::string_view name) {
  SentencePieceModel model;
  int32_t type = 1;
  bool dummy_prefix = true;
  Message file(bytes, name);
  for (Message::Field f; file.next(f);) {
    Message inner(f.bytes, name);
    if (f.number == 1) read_piece(f.bytes, name, model);
    for (Message::Field t; f.number == 2 && inner.next(t);) {
      if (t.number == 3) type = t.integer();
      if (t.number == 24) model.whitespace_as_suffix = t.boolean();
      if (t.number == 35) model.byte_fallback = t.boolean();
      if (t.number == 40) model.unk = t.integer();
      if (t.number == 41) model.bos = t.integer();
      if (t.number == 42) model.eos = t.integer();
    }
    for (Message::Field n; f.number == 3 && inner.next(n);) {
      if (n.number == 2) model.charsmap = n.bytes;
      if (n.number == 3) dummy_prefix = n.boolean();
      if (n.number == 4) model.remove_extra_whitespaces = n.boolean();
      if (n.number == 5) model.escape_whitespaces = n.boolean();
    }
  }
  if (type != 1 && type != 2) throw Unsupported(cat(name, ": sentencepiece model type ", type, "; known: 1 (unigram), 2 (BPE)"));
  model.unigram = type == 1;
  model.prefix = dummy_prefix ? PrependScheme::kFirst : PrependScheme::kNever;
  return model;
}

std::unique_ptr<Parts> parts_from_model(SentencePieceModel model, std::string_view name) {
  int64_t count = int64_t(model.pieces.size());
  if (count == 0) throw InvalidData(cat(name, ": no pieces, wanted a sentencepiece model"));
  for (auto [role, id] : {std::pair("unknown", &model.unk), {"begin-of-text", &model.bos}, {"end-of-text", &model.eos}}) {
    if (*id >= count) throw InvalidData(cat(name, ": the ", role, " token is ", *id, ", wanted one of the ", count, " pieces"));
    *id = std::max(*id, -1);
  }
  auto unreal = std::find_if_not(model.scores.begin(), model.scores.end(), [](float score) { return std::isfinite(score); });
  if (unreal != model.scores.end()) {
    throw InvalidData(cat(name, ": the score of piece ", unreal - model.scores.begin(), " is ", *unreal, ", wanted a finite number"));
  }
  Vocabulary vocabulary(model.pieces.size());
  for (int64_t i = 0; i < count; i++) vocabulary.add(model.pieces[size_t(i)], i);
  auto parts = std::make_unique<Parts>();
  parts->pre_tokenizers.push_back(std::make_unique<SentencePieceText>(model));
  parts->model = make_model(std::move(vocabulary), model);
  for (int64_t i = 0; i < count; i++) {
    int32_t type = model.types[size_t(i)];
    if (type != kUnknown && type != kControlPiece && type != kUserDefined) continue;
    parts->added.add({.content = model.pieces[size_t(i)], .special = type != kUserDefined}, parts->model->vocabulary());
  }
  parts->decoders.push_back(make_replace_decoder(std::string(kSpace), " "));
  parts->decoders.push_back(make_byte_fallback_decoder());
  parts->decoders.push_back(make_fuse_decoder());
  if (model.prefix != PrependScheme::kNever) {
    parts->decoders.push_back(make_strip_decoder(U' ', !model.whitespace_as_suffix, model.whitespace_as_suffix));
  }
  parts->has_decoder = true;
  return parts;
}

std::unique_ptr<Parts> parts_from_sentencepiece(std::string_view bytes, std::string_view name, HubConfig& config) {
  if (!config.is_one_of({"", "llama", "codellama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "phi3", "pretrained"})) {
    throw Unsupported(cat(name, ": sentencepiece model of tokenizer '", config.family(),
                          "', whose ids differ from the model's own; wanted a tokenizer.json, or one of Llama, Mistral, Mixtral, Gemma, Phi3"));
  }
  SentencePieceModel model = read_sentencepiece(bytes, name);
  for (auto [role, id] : {std::pair("bos_token", model.bos), {"eos_token", model.eos}}) {
    if (id >= 0 && size_t(id) < model.pieces.size()) config.assume({{role, model.pieces[size_t(id)].c_str()}});
  }
  config.assume_flag("add_bos_token", true);
  std::unique_ptr<Parts> parts = parts_from_model(std::move(model), name);
  Digest d;
  d.add("sentencepiece");
  d.add(bytes);
  parts->hash = d.value();
  return parts;
}

}  // namespace lacuna::text
