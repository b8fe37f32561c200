// Post-processors put special tokens around the ids of one text or two.
#include "base/cat.h"
#include "lacuna/error.h"
#include "text/builder.h"
#include "text/components.h"

namespace lacuna::text {
namespace {

class Template final : public PostProcessor {
 public:
  Template(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair) : single_(std::move(single)), pair_(std::move(pair)) {}

  void apply(std::vector<Segment>& segments, bool add_special_tokens) const override {
    if (segments.size() != 1 && segments.size() != 2) {
      throw Unsupported(cat("TemplateProcessing after a processor that left ", segments.size(), " parts, wanted one or two"));
    }
    std::vector<Segment> out;
    for (const TemplatePiece& piece : segments.size() == 1 ? single_ : pair_) {
      if (piece.sequence >= 0) {
        const Segment& source = segments[size_t(piece.sequence)];
        out.push_back({source.ids, std::vector<int32_t>(source.ids.size(), piece.type_id)});
      } else if (add_special_tokens) {
        out.push_back({piece.ids, std::vector<int32_t>(piece.ids.size(), piece.type_id)});
      }
    }
    segments = std::move(out);
  }

 private:
  std::vector<TemplatePiece> single_, pair_;
};

// [CLS] first [SEP] second [SEP]
class Bert final : public PostProcessor {
 public:
  Bert(int32_t cls, int32_t sep) : cls_(cls), sep_(sep) {}

  void apply(std::vector<Segment>& segments, bool add_special_tokens) const override {
    if (!add_special_tokens) return;
    for (size_t i = 0; i < segments.size(); i++) {
      Segment& s = segments[i];
      int32_t type = i == 0 ? 0 : 1;
      if (i == 0) s.ids.insert(s.ids.begin(), cls_);
      s.ids.push_back(sep_);
      s.type_ids.assign(s.ids.size(), type);
    }
  }

 private:
  int32_t cls_, sep_;
};

// <s> first </s> </s> second </s>, all of type 0
class Roberta final : public PostProcessor {
 public:
  Roberta(int32_t cls, int32_t sep) : cls_(cls), sep_(sep) {}

  void apply(std::vector<Segment>& segments, bool add_special_tokens) const override {
    for (size_t i = 0; i < segments.size(); i++) {
      Segment& s = segments[i];
      if (add_special_tokens) {
        s.ids.insert(s.ids.begin(), i == 0 ? cls_ : sep_);
        s.ids.push_back(sep_);
      }
      s.type_ids.assign(s.ids.size(), 0);
    }
  }

 private:
  int32_t cls_, sep_;
};

}  // namespace

void set_bos_eos(Parts& parts, int32_t bos, int32_t eos) {
  if (bos < 0 && eos < 0) return;
  std::vector<TemplatePiece> pieces[2];
  for (int32_t sequence : {0, 1}) {
    if (bos >= 0) pieces[sequence].push_back({.ids = {bos}, .type_id = sequence});
    pieces[sequence].push_back({.sequence = sequence, .type_id = sequence});
    if (eos >= 0) pieces[sequence].push_back({.ids = {eos}, .type_id = sequence});
  }
  std::vector<TemplatePiece> pair = pieces[0];
  pair.insert(pair.end(), pieces[1].begin(), pieces[1].end());
  parts.post_processors.push_back(make_template_processor(std::move(pieces[0]), std::move(pair)));
}

std::unique_ptr<PostProcessor> make_template_processor(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair) {
  return std::make_unique<Template>(std::move(single), std::move(pair));
}
std::unique_ptr<PostProcessor> make_bert_processor(int32_t cls, int32_t sep) { return std::make_unique<Bert>(cls, sep); }
std::unique_ptr<PostProcessor> make_roberta_processor(int32_t cls, int32_t sep) { return std::make_unique<Roberta>(cls, sep); }

}  // namespace lacuna::text
