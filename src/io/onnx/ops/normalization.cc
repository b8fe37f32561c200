// Normalisation ops.
// BatchNormalization: 7 and 9 for inference (7 with spatial = 0 refused), 14 and 15 with training_mode = 0.
// GroupNormalization: 18 has a scale and bias per group, 21 per channel. LayerNormalization 17 (ONNX Runtime
// writes it into files of older opsets, as version 1), RMSNormalization 23.
#include "base/cat.h"
#include "io/onnx/importer.h"

namespace lacuna::onnx::import {

void batch_normalization(OpContext& context) {
  if (context.integer("training_mode", 0) != 0) context.unsupported("training_mode = 1");
  if (context.integer("spatial", 1) != 1) context.unsupported("spatial = 0");
  for (size_t i = 1; i < context.output_count(); i++)
    if (context.wants(i)) context.unsupported("outputs of training");
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < 5; i++) inputs.push_back(context.required(i));
  context.set_output(0, context.add(Op::batch_norm, inputs, with({{"epsilon", context.number("epsilon", 1e-5f)}})));
}

void instance_normalization(OpContext& context) {
  context.set_output(0, context.add(Op::instance_norm, {context.required(0), context.required(1), context.required(2)},
                                    with({{"epsilon", context.number("epsilon", 1e-5f)}})));
}

void group_normalization(OpContext& context) {
  ValueId x = context.required(0), scale = context.required(1), bias = context.required(2);
  int64_t groups = context.integer("num_groups", 0);
  if (groups < 1) context.invalid(cat("num_groups is ", groups));
  if (context.version() < 21) {
    auto shape = context.shape(x);
    if (!shape || shape->size() < 2 || !(*shape)[1].is_constant()) context.unsupported("a number of channels that is not known before the run");
    int64_t channels = (*shape)[1].value();
    auto per_channel = [&](ValueId v, const char* name) {
      ValueId column = context.reshape(v, {groups, 1}, cat(name, "_column"));
      ValueId wide =
          context.add(Op::expand, {column, context.constant({groups, channels / groups}, cat(name, "_wide_shape"))}, {}, cat(name, "_wide"));
      return context.reshape(wide, {channels}, name);
    };
    if (channels != groups) scale = per_channel(scale, "scale"), bias = per_channel(bias, "bias");
  }
  context.set_output(0, context.add(Op::group_norm, {x, scale, bias}, with({{"groups", groups}, {"epsilon", context.number("epsilon", 1e-5f)}})));
}

void layer_normalization(OpContext& context) {
  ValueId x = context.required(0);
  int64_t axis = context.integer("axis", -1);
  double epsilon = context.number("epsilon", 1e-5f);
  if (context.integer("stash_type", 1) != 1) context.unsupported("stash_type other than 1 (float)");
  context.set_output(0, context.add(Op::layer_norm, {x, context.required(1), context.input(2)}, with({{"axis", axis}, {"epsilon", epsilon}})));
  if (!context.wants(1) && !context.wants(2)) return;
  int64_t rank = context.required_rank(x);
  std::vector<int64_t> axes;
  for (int64_t i = axis < 0 ? axis + rank : axis; i < rank; i++) axes.push_back(i);
  ValueId mean = context.add(Op::reduce_mean, {x}, with({{"axes", axes}}), "mean");
  ValueId centred = context.add(Op::sub, {x, mean}, {}, "centred");
  ValueId variance = context.add(Op::reduce_mean, {context.add(Op::mul, {centred, centred}, {}, "square")}, with({{"axes", axes}}), "variance");
  ValueId raised = context.add(Op::add, {variance, context.scalar(epsilon, context.dtype(x), "epsilon")}, {}, "raised_variance");
  context.set_output(1, mean);
  if (context.wants(2))
    context.set_output(2, context.add(Op::reciprocal, {context.add(Op::sqrt, {raised}, {}, "deviation")}, {}, "inverse_deviation"));
}

void rms_normalization(OpContext& context) {
  if (context.integer("stash_type", 1) != 1) context.unsupported("stash_type other than 1 (float)");
  if (context.wants(1)) context.unsupported("the inverse deviation as an output");
  Attributes attributes = with({{"axis", context.integer("axis", -1)}, {"epsilon", context.number("epsilon", 1e-5f)}});
  context.set_output(0, context.add(Op::rms_norm, {context.required(0), context.required(1)}, attributes));
}

void lp_normalization(OpContext& context) {
  int64_t p = context.integer("p", 2);
  if (p != 1 && p != 2) context.unsupported(cat("p = ", p));
  // A row of zeros stays zero.
  context.set_output(0, context.add(Op::l2_norm, {context.required(0)}, with({{"axis", context.integer("axis", -1)}, {"p", p}, {"epsilon", 1e-37}})));
}

void lrn(OpContext& context) {
  Attributes attributes = with({{"size", context.integer("size", 0)},
                                {"alpha", context.number("alpha", 1e-4f)},
                                {"beta", context.number("beta", 0.75)},
                                {"bias", context.number("bias", 1)}});
  context.set_output(0, context.add(Op::lrn, {context.required(0)}, attributes));
}

// (x - mean) / sqrt(variance) over axes, by default all but the channels.
void mean_variance_normalization(OpContext& context) {
  ValueId x = context.required(0);
  std::vector<int64_t> axes = context.has_attribute("axes") ? context.integers("axes") : std::vector<int64_t>{0, 2, 3};
  ValueId centred = context.add(Op::sub, {x, context.add(Op::reduce_mean, {x}, with({{"axes", axes}}), "mean")}, {}, "centred");
  ValueId variance = context.add(Op::reduce_mean, {context.add(Op::mul, {centred, centred}, {}, "square")}, with({{"axes", axes}}), "variance");
  ValueId deviation =
      context.add(Op::add, {context.add(Op::sqrt, {variance}, {}, "root"), context.scalar(1e-9, context.dtype(x), "epsilon")}, {}, "deviation");
  context.set_output(0, context.add(Op::div, {centred, deviation}));
}

}  // namespace lacuna::onnx::import
