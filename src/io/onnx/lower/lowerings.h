// The lowerings of each kind of op; table.cc collects them.
#pragma once

#include <span>

#include "io/onnx/exporter.h"

namespace lacuna::onnx::lower {

struct Entry {
  Op op;
  Lower lower;
};

std::span<const Entry> elementwise();
std::span<const Entry> products();
std::span<const Entry> attention();
std::span<const Entry> normalization();
std::span<const Entry> pooling();
std::span<const Entry> reductions();
std::span<const Entry> movement();
std::span<const Entry> quantization();

// A lowering to one ONNX op of the same operands, with the attributes that have the same name.
#define LACUNA_LOWER_AS(type, ...) [](Lowering& l) { l.finish(type, l.inputs(), l.copied({__VA_ARGS__})); }

}  // namespace lacuna::onnx::lower
