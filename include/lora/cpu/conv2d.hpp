// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <lora/cpu/conv2d_cores.hpp>
#include <lora/cpu/conv2d_planes.hpp>
#include <lora/detail/conv2d_sizes.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// The three products of a convolution. Threads share images, groups and blocks of rows; see
// conv2d_planes.hpp and conv2d_cores.hpp for what each of them does.

namespace lora::inline v0::cpu {

namespace detail {

/// The positions of the result that have the same taps, which begin at `first` in the tables.
struct ConvPart {
  AxisGather rows, cols;
  std::int64_t first, taps;
};

/// What is worked out once an op, in memory that is kept for the next.
template <class T>
struct ConvTables {
  std::vector<ConvPart> parts;
  std::vector<std::int64_t> plane_offsets, weight_offsets;
  std::vector<T> weights;

  void clear() {
    parts.clear();
    plane_offsets.clear();
    weight_offsets.clear();
  }

  /// The weight's element for source channel c is at c channel_step + its place in the kernel.
  void add_part(const PlaneLayout& l, const AxisGather& rows, const AxisGather& cols,
                std::int64_t channel_step, std::int64_t kernel_cols) {
    const auto first = static_cast<std::int64_t>(plane_offsets.size());
    for (std::int64_t c = 0; c < l.channels; ++c) {
      for (std::int64_t a = 0; a < rows.taps; ++a) {
        for (std::int64_t b = 0; b < cols.taps; ++b) {
          plane_offsets.push_back(l.offset(c, rows, a, cols, b));
          weight_offsets.push_back(c * channel_step +
                                   (rows.first_tap + a * rows.tap_step) * kernel_cols +
                                   cols.first_tap + b * cols.tap_step);
        }
      }
    }
    parts.push_back({rows, cols, first, static_cast<std::int64_t>(plane_offsets.size()) - first});
  }

  static ConvTables& of_thread() {
    thread_local ConvTables tables;
    return tables;
  }
};

/// What gather computes: a result whose every element is a sum over taps of the source.
template <class T>
struct ConvGather {
  const T* source;
  const T* w;
  std::int64_t w_group, w_row;  // elements of w from group to group, from output to output
  const T* bias;
  T* result;
  std::int64_t batch, groups, outputs;  // outputs: channels of the result, of one group
  std::int64_t result_rows, result_cols;
  bool accumulate;
};

/// The planes of the rows from `first` on, `extent` elements behind their start: in the source,
/// where it serves and has as many elements before `source_end`, or in `memory`, which is 0 at
/// first.
template <class T>
const T* planes_of_block(const PlaneLayout& l, const T* source, const T* source_end,
                         std::int64_t first, std::int64_t extent, T* memory) {
  if (!l.is_source) {
    run_simd<CopyPlanesCore>(l, source, first, memory);
    return memory;
  }
  const T* const begin = source + first * l.pitch;
  if (source_end - begin >= extent) return begin;
  std::copy(begin, source_end, memory);
  return memory;
}

template <class T>
void gather(const ConvGather<T>& p, const PlaneLayout& l, ConvTables<T>& tables) {
  const auto all_taps = static_cast<std::int64_t>(tables.plane_offsets.size());
  tables.weights.resize(static_cast<std::size_t>(p.groups * p.outputs * all_taps));
  T* const weights = tables.weights.data();
  const std::int64_t* const plane_offsets = tables.plane_offsets.data();
  const std::int64_t* const weight_offsets = tables.weight_offsets.data();
  const std::vector<ConvPart>& parts = tables.parts;
  lora::detail::parallel_for(p.groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      for (const ConvPart& part : parts) {
        run_simd<PackConvCore>(p.w + g * p.w_group, p.w_row, weight_offsets + part.first, part.taps,
                               p.outputs, weights + (g * all_taps + part.first) * p.outputs);
      }
    }
  });
  const std::int64_t farthest =
      all_taps == 0 ? 0 : *std::max_element(plane_offsets, plane_offsets + all_taps);
  const std::int64_t extent = farthest + l.block_rows * l.pitch + kConvSlack<T>;
  const std::int64_t source_step = l.channels * l.source_plane;
  const std::int64_t result_plane = p.result_rows * p.result_cols;
  const T* const source_end = p.source + p.batch * p.groups * source_step;
  lora::detail::parallel_for(
      p.batch * p.groups * l.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        thread_local std::vector<T> memory;
        memory.assign(static_cast<std::size_t>(std::max(l.is_source ? 0 : l.size(), extent)), T{});
        for (std::int64_t unit = begin; unit < end; ++unit) {
          const std::int64_t image_group = unit / l.blocks;
          const std::int64_t first = unit % l.blocks * l.block_rows;
          const std::int64_t g = image_group % p.groups;
          const T* const planes = planes_of_block(l, p.source + image_group * source_step,
                                                  source_end, first, extent, memory.data());
          T* const result = p.result + image_group * p.outputs * result_plane;
          for (const ConvPart& part : parts) {
            const AxisGather& rows = part.rows;
            const AxisGather& cols = part.cols;
            ConvProduct<T> product{
                .planes = planes,
                .offsets = plane_offsets + part.first,
                .taps = part.taps,
                .weights = weights + (g * all_taps + part.first) * p.outputs,
                .outputs = p.outputs,
                .pitch = l.pitch,
                .rows = std::min(l.block_rows, rows.count - first),
                .cols = cols.count,
                .result = result + (rows.first + first * rows.step) * p.result_cols + cols.first,
                .result_plane = result_plane,
                .row_step = rows.step * p.result_cols,
                .col_step = cols.step,
                .bias = p.bias ? p.bias + g * p.outputs : nullptr,
                .accumulate = p.accumulate};
            if (product.rows <= 0 || product.cols <= 0) continue;
            if (product.cols == l.pitch && product.row_step == l.pitch && cols.step == 1) {
              // Without padding and with a kernel of one column, all rows are one.
              product.pitch = product.cols = product.rows * l.pitch;
              product.rows = 1;
            }
            run_simd<ConvProductCore>(product);
          }
        }
      });
}

}  // namespace detail

template <class T>
void conv2d(VectorView<const T> x, VectorView<const T> w, VectorView<const T> bias, VectorView<T> y,
            Conv2dSizes s, bool accumulate) {
  const PlaneLayout layout = plane_layout(planes_of_input(s.rows), planes_of_input(s.cols),
                                          s.group_channels(), s.rows.out, s.cols.out, true);
  auto& tables = detail::ConvTables<T>::of_thread();
  tables.clear();
  tables.add_part(layout, gather_output(s.rows), gather_output(s.cols), s.kernel(), s.cols.kernel);
  detail::gather<T>({.source = x.data,
                     .w = w.data,
                     .w_group = s.group_outputs() * s.taps(),
                     .w_row = s.taps(),
                     .bias = bias.data,
                     .result = y.data,
                     .batch = s.batch,
                     .groups = s.groups,
                     .outputs = s.group_outputs(),
                     .result_rows = s.rows.out,
                     .result_cols = s.cols.out,
                     .accumulate = accumulate},
                    layout, tables);
}

template <class T>
void conv2d_backward_input(VectorView<const T> dy, VectorView<const T> w, VectorView<T> dx,
                           Conv2dSizes s, bool accumulate) {
  const auto most = [](const ConvAxis& a) { return (a.in + a.stride - 1) / a.stride; };
  const PlaneLayout layout = plane_layout(planes_of_output(s.rows), planes_of_output(s.cols),
                                          s.group_outputs(), most(s.rows), most(s.cols), true);
  auto& tables = detail::ConvTables<T>::of_thread();
  tables.clear();
  for (std::int64_t i = 0; i < s.rows.stride; ++i) {
    for (std::int64_t j = 0; j < s.cols.stride; ++j) {
      tables.add_part(layout, gather_input(s.rows, i), gather_input(s.cols, j), s.taps(),
                      s.cols.kernel);
    }
  }
  detail::gather<T>({.source = dy.data,
                     .w = w.data,
                     .w_group = s.group_outputs() * s.taps(),
                     .w_row = s.kernel(),
                     .bias = nullptr,
                     .result = dx.data,
                     .batch = s.batch,
                     .groups = s.groups,
                     .outputs = s.group_channels(),
                     .result_rows = s.rows.in,
                     .result_cols = s.cols.in,
                     .accumulate = accumulate},
                    layout, tables);
}

namespace detail {

/// What the gradient of a weight sums over: the blocks of rows of all images. An item's memory has
/// the planes of x, then the rows of dy, as far apart as the positions of the planes; what neither
/// fills is 0.
template <class T>
struct ConvItems {
  static constexpr std::int64_t kLine = 64 / sizeof(T);

  explicit ConvItems(const Conv2dSizes& s)
      : sizes(s),
        x(plane_layout(planes_of_input(s.rows), planes_of_input(s.cols), s.group_channels(),
                       s.rows.out, s.cols.out, false)),
        dy(x) {
    positions = whole_lines(x.block_rows * x.pitch);
    dy_start = whole_lines(x.size() + x.cols.reach) + kLine;
    dy.rows = {s.rows.out, 1, 0, 1, 1, 1, 0};
    dy.cols = {s.cols.out, 1, 0, 1, 1, 1, 0};
    dy.source_plane = s.out_plane();
    dy.plane = dy.channel = positions;
  }

  static std::int64_t whole_lines(std::int64_t n) { return (n + kLine - 1) / kLine * kLine; }

  std::int64_t count() const { return sizes.batch * x.blocks; }

  /// Fills the memory of an item, for the channels of dy from `output` on, which are in group g.
  void copy(std::int64_t item, const T* from_x, std::int64_t g, const T* from_dy,
            std::int64_t output, std::int64_t outputs, T* to) const {
    const std::int64_t image = item / x.blocks;
    const std::int64_t first = item % x.blocks * x.block_rows;
    from_x += (image * sizes.channels + g * x.channels) * x.source_plane;
    from_dy += (image * sizes.out_channels + output) * dy.source_plane;
    run_simd<CopyPlanesCore>(x, from_x, first, to);
    PlaneLayout slice = dy;
    slice.channels = outputs;
    run_simd<CopyPlanesCore>(slice, from_dy, first, to + dy_start);
  }

  Conv2dSizes sizes;
  PlaneLayout x, dy;
  std::int64_t positions;  // of a row of dy
  std::int64_t dy_start;
};

}  // namespace detail

/// Each chunk of the items has a partial sum, and these are added in order: the result depends on
/// the sizes, not on the threads.
template <class T>
void conv2d_backward_weight(VectorView<const T> dy, VectorView<const T> x, VectorView<T> dw,
                            Conv2dSizes s, bool accumulate) {
  constexpr std::int64_t kMostPartials = 1 << 20;
  constexpr std::int64_t kItemElements = 1 << 16;  // of the items that are in memory together
  constexpr std::int64_t kOutputs = 32;            // of a unit of work
  const detail::ConvItems<T> items(s);
  auto& tables = detail::ConvTables<T>::of_thread();
  tables.clear();
  tables.add_part(items.x, gather_output(s.rows), gather_output(s.cols), s.kernel(), s.cols.kernel);
  const std::int64_t* const offsets = tables.plane_offsets.data();

  const std::int64_t size = s.out_channels * s.taps();
  std::int64_t chunks = std::clamp<std::int64_t>(items.count() / 4, 1, 8);
  while (chunks > 1 && chunks * size > kMostPartials) chunks /= 2;
  tables.weights.resize(static_cast<std::size_t>(chunks * size));
  T* const partials = tables.weights.data();
  const std::int64_t slices = (s.group_outputs() + kOutputs - 1) / kOutputs;
  const auto add_unit = [&](std::int64_t chunk, std::int64_t g, std::int64_t slice) {
    const std::int64_t outputs = std::min(kOutputs, s.group_outputs() - slice * kOutputs);
    const std::int64_t first_output = g * s.group_outputs() + slice * kOutputs;
    T* const sums = partials + chunk * size + first_output * s.taps();
    std::fill_n(sums, outputs * s.taps(), T{});
    const std::int64_t begin = items.count() * chunk / chunks;
    const std::int64_t end = items.count() * (chunk + 1) / chunks;
    const std::int64_t distance = items.dy_start + outputs * items.positions;
    const std::int64_t together =
        std::min(end - begin, std::max<std::int64_t>(kItemElements / distance, 1));
    thread_local std::vector<T> memory;
    memory.assign(static_cast<std::size_t>(together * distance), T{});
    for (std::int64_t item = begin; item < end;) {
      const std::int64_t count = std::min(together, end - item);
      for (std::int64_t i = 0; i < count; ++i, ++item) {
        items.copy(item, x.data, g, dy.data, first_output, outputs, memory.data() + i * distance);
      }
      run_simd<ConvWeightCore>(ConvWeightProduct<T>{.planes = memory.data(),
                                                    .dy = memory.data() + items.dy_start,
                                                    .items = count,
                                                    .item_distance = distance,
                                                    .positions = items.positions,
                                                    .offsets = offsets,
                                                    .taps = s.taps(),
                                                    .outputs = outputs,
                                                    .dw = sums});
    }
  };
  lora::detail::parallel_for(
      chunks * s.groups * slices, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t unit = begin; unit < end; ++unit) {
          add_unit(unit / slices / s.groups, unit / slices % s.groups, unit % slices);
        }
      });
  lora::detail::parallel_for(size, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      T sum = accumulate ? dw[i] : T{0};
      for (std::int64_t c = 0; c < chunks; ++c) sum += partials[c * size + i];
      dw[i] = sum;
    }
  });
}

/// dy: (N O, H' W'), an image's channels one after the other.
template <class T>
void conv2d_backward_bias(MatrixView<const T> dy, VectorView<T> db, bool accumulate) {
  const std::int64_t batch = db.size == 0 ? 0 : dy.rows / db.size;
  lora::detail::parallel_for(db.size, 1, [&](std::int64_t begin, std::int64_t end) {
    run_simd<ConvBiasCore>(dy.data, batch, db.size * dy.cols, dy.cols, db.data, begin, end,
                           accumulate);
  });
}

}  // namespace lora::inline v0::cpu
