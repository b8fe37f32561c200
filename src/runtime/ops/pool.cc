// Pooling.
#include <algorithm>
#include <array>
#include <limits>

#include "base/parallel.h"
#include "kernels/support.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/codes.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/vector_ops.h"
#include "runtime/reference/support.h"

namespace lacuna {
namespace {

// Positions of the window along an axis that lie in [low, high).
int64_t inside(int64_t start, int64_t kernel, int64_t dilation, int64_t low, int64_t high) {
  int64_t n = 0;
  for (int64_t k = 0; k < kernel; k++) n += start + k * dilation >= low && start + k * dilation < high;
  return n;
}

// PoolCall::rows of plain planes.
std::function<void(const PoolRows&)> rows_of_planes(const reference::Windows& w, bool maximum, bool count_padding) {
  int64_t in_h = w.input[0], in_w = w.input[1], out_w = w.output[1];
  // What the outputs of a row have under their windows, beside rows.
  std::vector<int64_t> counts_x;
  for (int64_t ox = 0, low = count_padding ? -w.pad_begin[1] : 0, high = in_w + (count_padding ? w.pad_end[1] : 0); ox < out_w; ox++)
    counts_x.push_back(inside(ox * w.strides[1] - w.pad_begin[1], w.kernel[1], w.dilations[1], low, high));
  PooledRow pooled = {.in_w = in_w,
                      .out_w = out_w,
                      .kernel_w = w.kernel[1],
                      .stride_w = w.strides[1],
                      .dilation_w = w.dilations[1],
                      .pad_left = w.pad_begin[1],
                      .empty = maximum ? std::numeric_limits<float>::lowest() : 0,
                      .maximum = maximum};
  return [=](const PoolRows& task) {
    constexpr int64_t kRows = 4;  // of outputs at a time
    // What lies beside padding begins a cache line.
    constexpr int64_t kLine = 16;
    int64_t before = (w.pad_begin[1] + kLine - 1) / kLine * kLine, size = before + (pool_row_size(pooled) + kLine - 1) / kLine * kLine;
    float* columns = kernels::thread_scratch_of<float>(kernels::ScratchSlot::kTile, kRows * size);
    std::fill_n(columns, std::min(kRows, task.end - task.first) * size, pooled.empty);
    std::vector<const float*> under(size_t(w.kernel[0]));
    const bool halves = pools_halves(pooled);
    std::array<PooledRow, kRows> pools;
    pools.fill(pooled);
    for (int64_t i = 0; i < kRows; i++) {
      pools[size_t(i)].column = columns + i * size + before - w.pad_begin[1];
      pools[size_t(i)].rows = under.data();
    }
    for (int64_t plane = 0; plane < task.planes; plane++)
      for (int64_t group = task.first; group < task.end; group += kRows) {
        int64_t rows = std::min(kRows, task.end - group);
        for (int64_t i = 0; i < rows; i++) {
          PooledRow& pool = pools[size_t(i)];
          pool.row_count = 0, pool.y = task.y + plane * task.y_pitch + (group + i - task.first) * out_w;
          for (int64_t k = 0, top = (group + i) * w.strides[0] - w.pad_begin[0]; k < w.kernel[0]; k++)
            if (int64_t y = top + k * w.dilations[0]; y >= 0 && y < in_h)
              under[size_t(pool.row_count++)] = task.x + plane * task.x_pitch + (y - task.x_first) * in_w;
          halves ? pool_halves(pool) : pool_down(pool);
        }
        for (int64_t i = 0; i < rows; i++) {
          const PooledRow& pool = pools[size_t(i)];
          if (!halves) pool_across(pool);
          if (maximum) continue;
          int64_t low_y = count_padding ? -w.pad_begin[0] : 0, high_y = in_h + (count_padding ? w.pad_end[0] : 0);
          int64_t count_y = inside((group + i) * w.strides[0] - w.pad_begin[0], w.kernel[0], w.dilations[0], low_y, high_y);
          for (int64_t ox = 0; ox < out_w; ox++) {
            int64_t count = count_y * counts_x[size_t(ox)];
            pool.y[ox] = count ? pool.y[ox] / float(count) : 0;
          }
        }
      }
  };
}

}  // namespace

CompiledStep compile_global_average_pool(const OpContext& context) {
  Shape x = context.shape(0);
  int64_t planes = x[0] * x[1], space = planes ? element_count(x) / planes : 0;
  if (space == 0) return {};
  if (context.plan().codes) return compile_codes_mean(context);
  if (int64_t block = context.block(0)) {
    int64_t channels = x[1], blocks = (channels + block - 1) / block;
    return {.kernel = "channel blocks",
            .run =
                [=](const StepCall& call) {
                  parallel_for(x[0] * blocks, [&](int64_t index) {
                    float sums[16];
                    sum_pixels(call.floats(0) + index * space * block, space, block, sums);
                    int64_t first = index % blocks * block;
                    for (int64_t c = 0; c < std::min(block, channels - first); c++)
                      call.out_floats()[index / blocks * channels + first + c] = sums[c] / float(space);
                  });
                },
            .input_blocks = {block}};
  }
  constexpr int64_t kPlanes = 64;
  return {.kernel = "planes", .run = [=](const StepCall& call) {
            parallel_for((planes + kPlanes - 1) / kPlanes, [&](int64_t tile) {
              for (int64_t p = tile * kPlanes; p < std::min(planes, (tile + 1) * kPlanes); p++)
                call.out_floats()[p] = fold_array(BinaryOp::kAdd, call.floats(0) + p * space, space) / float(space);
            });
          }};
}

CompiledStep compile_global_max_pool(const OpContext& context) {
  const Shape x = context.shape(0);
  const int64_t planes = x[0] * x[1], space = planes ? element_count(x) / planes : 0;
  if (space == 0 || !context.is_float(0)) return {};
  if (const int64_t block = context.block(0)) {
    const int64_t channels = x[1], blocks = (channels + block - 1) / block;
    return {.kernel = "channel blocks",
            .run =
                [=](const StepCall& call) {
                  parallel_for(x[0] * blocks, [&](int64_t index) {
                    const int64_t first = index % blocks * block;
                    fold_rows(BinaryOp::kMaximum, call.floats(0) + index * space * block, space, block, std::min(block, channels - first),
                              call.out_floats() + index / blocks * channels + first);
                  });
                },
            .input_blocks = {block}};
  }
  const int64_t planes_per_tile = std::max<int64_t>(1, kElementTile / space);
  return {.kernel = "planes", .run = [=](const StepCall& call) {
            parallel_for((planes + planes_per_tile - 1) / planes_per_tile, [&](int64_t tile) {
              for (int64_t p = tile * planes_per_tile; p < std::min(planes, (tile + 1) * planes_per_tile); p++)
                call.out_floats()[p] = fold_array(BinaryOp::kMaximum, call.floats(0) + p * space, space);
            });
          }};
}

namespace {

// Each slice of a volume by itself, then the slices of a window.
CompiledStep compile_volume_pool(const Shape& x, const reference::Windows& w, bool maximum, bool count_padding) {
  const reference::Windows flat = w.without_axis();
  const int64_t depth = w.input[0], out_depth = w.output[0], plane = element_count(flat.input), out_plane = element_count(flat.output);
  if (element_count(x) * out_plane == 0) return {};
  return {.kernel = "volumes", .run = [=, rows = rows_of_planes(flat, maximum, count_padding), out_h = flat.output[0]](const StepCall& call) {
            parallel_for(x[0] * x[1], [&](int64_t volume) {
              thread_local std::vector<float> slices;
              slices.resize(size_t(depth * out_plane));
              rows({.x = call.floats(0) + volume * depth * plane,
                    .x_pitch = plane,
                    .x_first = 0,
                    .planes = depth,
                    .first = 0,
                    .end = out_h,
                    .y = slices.data(),
                    .y_pitch = out_plane});
              for (int64_t d = 0; d < out_depth; d++) {
                const int64_t start = d * w.strides[0] - w.pad_begin[0];
                float* y = call.out_floats() + (volume * out_depth + d) * out_plane;
                std::fill_n(y, out_plane, maximum ? std::numeric_limits<float>::lowest() : 0);
                for (int64_t k = 0; k < w.kernel[0]; k++)
                  if (int64_t at = start + k * w.dilations[0]; at >= 0 && at < depth)
                    combine(maximum ? BinaryOp::kMaximum : BinaryOp::kAdd, slices.data() + at * out_plane, false, y, false, out_plane, y);
                if (maximum) continue;
                const int64_t low = count_padding ? -w.pad_begin[0] : 0, high = depth + (count_padding ? w.pad_end[0] : 0);
                const float count = float(std::max<int64_t>(1, inside(start, w.kernel[0], w.dilations[0], low, high)));
                combine(BinaryOp::kDiv, y, false, &count, true, out_plane, y);
              }
            });
          }};
}

}  // namespace

CompiledStep compile_pool(const OpContext& context) {
  Shape x = context.shape(0);
  const bool of_codes = context.may_block() && context.node().op == Op::max_pool && x.size() == 4 && context.node().outputs.size() == 1 &&
                        (context.type(0) == DType::kS8 || context.type(0) == DType::kU8);
  if (context.plan().codes || of_codes) return compile_codes_pool(context);
  if (x.size() < 3 || x.size() > 5 || context.node().outputs.size() > 1 || !context.is_float(0)) return {};
  reference::Windows w = reference::windows_of(OpCall{context.node(), {}, {}, {}}, x, context.attributes().integers("kernel_shape"));
  bool maximum = context.node().op == Op::max_pool, count_padding = context.attributes().integer("count_include_pad", 0) != 0;
  if (std::ranges::any_of(w.pad_begin, [](int64_t pad) { return pad < 0; }) && (x.size() == 5 || context.block(0) == 0)) return {};
  if (x.size() == 5) return compile_volume_pool(x, w, maximum, count_padding);
  if (x.size() == 3) w.add_axis();
  int64_t in_h = w.input[0], in_w = w.input[1], out_h = w.output[0], out_w = w.output[1];
  if (int64_t block = context.block(0)) {
    BlockedPool pool{.block = block,
                     .in_h = in_h,
                     .in_w = in_w,
                     .out_h = out_h,
                     .out_w = out_w,
                     .kernel_h = w.kernel[0],
                     .kernel_w = w.kernel[1],
                     .stride_h = w.strides[0],
                     .stride_w = w.strides[1],
                     .dilation_h = w.dilations[0],
                     .dilation_w = w.dilations[1],
                     .pad_top = w.pad_begin[0],
                     .pad_left = w.pad_begin[1],
                     .pad_bottom = w.pad_end[0],
                     .pad_right = w.pad_end[1],
                     .maximum = maximum,
                     .count_padding = count_padding};
    int64_t blocks = (x[1] + block - 1) / block;
    return {.kernel = "channel blocks",
            .run =
                [=](const StepCall& call) {
                  parallel_for(x[0] * blocks, [&](int64_t index) {
                    BlockedPool one = pool;
                    one.x = call.floats(0) + index * in_h * in_w * block, one.y = call.out_floats() + index * out_h * out_w * block;
                    pool_block(one);
                  });
                },
            .input_blocks = {block},
            .output_block = block};
  }
  PoolCall call = {.planes = x[1],
                   .in_h = in_h,
                   .in_w = in_w,
                   .out_h = out_h,
                   .out_w = out_w,
                   .stride_h = w.strides[0],
                   .window_h = (w.kernel[0] - 1) * w.dilations[0] + 1,
                   .pad_top = w.pad_begin[0],
                   .rows = rows_of_planes(w, maximum, count_padding)};
  return {.kernel = "planes",
          .run =
              [call, images = x[0]](const StepCall& step) {
                int64_t bands = image_bands(images, call.out_h, call.out_w);
                int64_t per_task = std::clamp<int64_t>(kElementTile * bands / std::max<int64_t>(1, call.out_h * call.out_w), 1, 16);
                int64_t chunks = (call.planes + per_task - 1) / per_task, in_size = call.in_h * call.in_w, out_size = call.out_h * call.out_w;
                parallel_for(images * bands * chunks, [&](int64_t task) {
                  int64_t band = task / chunks % bands, first_plane = task % chunks * per_task, first = band * call.out_h / bands;
                  int64_t plane = task / chunks / bands * call.planes + first_plane;
                  call.rows({.x = step.floats(0) + plane * in_size,
                             .x_pitch = in_size,
                             .x_first = 0,
                             .planes = std::min(per_task, call.planes - first_plane),
                             .first = first,
                             .end = (band + 1) * call.out_h / bands,
                             .y = step.out_floats() + plane * out_size + first * call.out_w,
                             .y_pitch = out_size});
                });
              },
          .pool = call};
}

}  // namespace lacuna
