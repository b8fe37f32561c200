// Detection: what follows the heads of object detectors.
#include "graph/ops/rules.h"

namespace lacuna::ops {
namespace {

// boxes [n, boxes, 4], scores [n, classes, boxes], max per class?, overlap threshold?, score threshold? -> [selected, 3]
void non_max_suppression(InferContext& context) {
  expect_rank(context, 0, 3);
  expect_rank(context, 1, 3);
  auto *boxes = context.shape(0), *scores = context.shape(1);
  if (boxes) expect_equal(context, boxes->back(), Dim(4), "the last dimension of the boxes and 4");
  if (boxes && scores) expect_equal(context, (*boxes)[1], (*scores)[2], "the numbers of boxes and scores");
  context.set(0, DType::kS64, SymShape{context.unknown(0, 0), Dim(3)});
}

const OpSchema kSchemas[] = {{Op::non_max_suppression, 2, 5, 1, 1, {"center_point_box"}, non_max_suppression}};

}  // namespace

std::span<const OpSchema> detect_schemas() { return kSchemas; }

}  // namespace lacuna::ops
