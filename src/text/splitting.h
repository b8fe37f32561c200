// Cutting a piece where a pattern matches.
#pragma once

#include "text/components.h"

namespace lacuna::text {

// Takes the matches of a pattern and what lies between them, in order and covering the piece, and hands on pieces as `behavior` says.
class Splitter {
 public:
  Splitter(const Piece& piece, const Sink& next, SplitBehavior behavior, bool invert)
      : piece_(piece), next_(next), behavior_(behavior), invert_(invert) {}

  void operator()(size_t begin, size_t end, bool is_match) {
    is_match ^= invert_;
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        if (!is_match) next_(piece_, begin, end);
        return;
      case SplitBehavior::kIsolated: next_(piece_, begin, end); return;
      case SplitBehavior::kContiguous: hold(begin, end, held_ && is_match == previous_); break;
      case SplitBehavior::kMergedWithPrevious: hold(begin, end, held_ && is_match && !previous_); break;
      case SplitBehavior::kMergedWithNext: hold(begin, end, held_ && !is_match && previous_); break;
    }
    previous_ = is_match;
  }
  // After the last part.
  void finish() {
    if (held_) next_(piece_, begin_, end_);
    held_ = false;
  }

 private:
  void hold(size_t begin, size_t end, bool extend) {
    if (!extend) {
      finish();
      begin_ = begin;
    }
    end_ = end;
    held_ = true;
  }

  const Piece& piece_;
  const Sink& next_;
  SplitBehavior behavior_;
  bool invert_;
  bool held_ = false, previous_ = false;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace lacuna::text
