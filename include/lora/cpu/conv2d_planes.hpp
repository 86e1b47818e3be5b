// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>

#include <lora/cpu/simd.hpp>
#include <lora/detail/conv2d_sizes.hpp>

// A thread copies what a block of rows of the result reads into planes, in which a tap is nothing
// but an offset: padding is there as zeros, and a source that is read in steps, as a strided
// convolution reads x, is dealt out to a plane for each residue of its indices. Position (i, j) of
// the result is i pitch + j for every tap, so the positions of many rows make one long loop: what
// it computes between the end of a row of the result and the pitch is thrown away. In this way a
// convolution needs no unfolded copy of its input, which would be as many times larger as the
// kernel has elements.

namespace lora::inline v0::cpu {

using lora::detail::AxisGather;
using lora::detail::Conv2dSizes;
using lora::detail::ConvAxis;

/// One axis of the planes: element k of the plane of `phase` is source element
/// k step + phase dilation % step + start, or 0 where there is none.
struct PlaneAxis {
  std::int64_t size, step, start, dilation;
  std::int64_t cycle;   // tap t reads the plane of phase t % cycle
  std::int64_t phases;  // how many of them are read
  std::int64_t reach;   // of a tap beyond a position

  std::int64_t phase(std::int64_t tap) const { return tap % cycle; }
  std::int64_t source_start(std::int64_t phase) const { return phase * dilation % step + start; }
  /// Where in its plane a tap finds what position 0 reads.
  std::int64_t position(const AxisGather& g, std::int64_t tap) const {
    return (g.start - start + tap * g.source_tap) / step;
  }
  /// Whether the source itself is the plane.
  bool is_source(std::int64_t count) const {
    return step == 1 && start == 0 && count + reach <= size;
  }
};

/// Of x, for y.
inline PlaneAxis planes_of_input(const ConvAxis& a) {
  const std::int64_t cycle = a.stride / std::gcd(a.stride, a.dilation);
  return {a.in,
          a.stride,
          -a.padding,
          a.dilation,
          cycle,
          std::min(cycle, a.kernel),
          (a.kernel - 1) * a.dilation / a.stride};
}

/// Of dy, for dx.
inline PlaneAxis planes_of_output(const ConvAxis& a) {
  std::int64_t lowest = 0;
  std::int64_t highest = 0;
  for (std::int64_t residue = 0; residue < a.stride; ++residue) {
    const AxisGather g = gather_input(a, residue);
    if (g.taps == 0) continue;
    lowest = std::min(lowest, g.start + (g.taps - 1) * g.source_tap);
    highest = std::max(highest, g.start);
  }
  return {a.out, 1, lowest, 1, 1, 1, highest - lowest};
}

/// The planes of a block of rows of the result, for the channels of one group.
struct PlaneLayout {
  PlaneAxis rows, cols;
  std::int64_t channels;
  std::int64_t source_plane;        // elements from channel to channel of the source
  std::int64_t pitch, plane;        // elements of a row and of a plane
  std::int64_t channel;             // elements of the planes of one channel
  std::int64_t block_rows, blocks;  // of the result
  bool is_source;                   // nothing need be copied

  std::int64_t size() const { return channels * channel; }
  std::int64_t offset(std::int64_t c, const AxisGather& of_rows, std::int64_t row_tap,
                      const AxisGather& of_cols, std::int64_t col_tap) const {
    return c * channel + (rows.phase(row_tap) * cols.phases + cols.phase(col_tap)) * plane +
           rows.position(of_rows, row_tap) * pitch + cols.position(of_cols, col_tap);
  }
};

/// For `row_count` by `col_count` positions. A block's planes stay in the second cache, unless a
/// single row of the result needs more; its number of rows depends on the sizes alone. With
/// `in_place` the source may serve as it is.
inline PlaneLayout plane_layout(const PlaneAxis& rows, const PlaneAxis& cols, std::int64_t channels,
                                std::int64_t row_count, std::int64_t col_count, bool in_place) {
  constexpr std::int64_t kElements = 1 << 16;
  constexpr std::int64_t kFewestRows = 4;
  PlaneLayout l{};
  l.rows = rows;
  l.cols = cols;
  l.channels = channels;
  l.source_plane = rows.size * cols.size;
  l.is_source = in_place && rows.is_source(row_count) && cols.is_source(col_count);
  l.pitch = l.is_source ? cols.size : col_count + cols.reach;
  const std::int64_t row =
      std::max<std::int64_t>(channels * rows.phases * cols.phases * l.pitch, 1);
  const std::int64_t most = std::max(kFewestRows, kElements / row - rows.reach);
  l.blocks = (row_count + most - 1) / most;
  l.block_rows = l.blocks == 0 ? 0 : (row_count + l.blocks - 1) / l.blocks;
  l.plane = l.is_source ? l.source_plane : (l.block_rows + rows.reach) * l.pitch;
  l.channel = rows.phases * cols.phases * l.plane;
  return l;
}

/// Writes n elements of reader's, a vector at a time as far as there is one that is short enough;
/// the last one overlaps what is in front of it. A reader has
///     reader.vector<S>(index, vector) and reader.scalar(index).
template <int Bytes, class T, class Reader>
LORA_ALWAYS_INLINE void write_run(T* to, std::int64_t n, const Reader& reader) {
  using S = Simd<T, Bytes>;
  constexpr std::int64_t W = S::kWidth;
  if (n >= W) {
    // Read before anything is written: the reader may look at what is there.
    typename S::Vector last;
    reader.template vector<S>(n - W, last);
    for (std::int64_t i = 0; i < n - W; i += W) {
      typename S::Vector v;
      reader.template vector<S>(i, v);
      *S::at(to + i) = v;
    }
    *S::at(to + n - W) = last;
  } else if constexpr (Bytes > 16) {
    write_run<Bytes / 2>(to, n, reader);
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i] = reader.scalar(i);
  }
}

template <class T>
struct Neighbours {
  const T* from;

  template <class S>
  LORA_ALWAYS_INLINE void vector(std::int64_t i, typename S::Vector& v) const {
    v = *S::at(from + i);
  }
  LORA_ALWAYS_INLINE T scalar(std::int64_t i) const { return from[i]; }
};

template <class T>
struct EverySecond {
  const T* from;

  template <class S>
  LORA_ALWAYS_INLINE void vector(std::int64_t i, typename S::Vector& v) const {
    pick<S>(from + 2 * i, v, std::make_index_sequence<S::kWidth / 2>{});
  }
  LORA_ALWAYS_INLINE T scalar(std::int64_t i) const { return from[2 * i]; }

 private:
  // The second vector begins one element early, so that nothing behind the last one is read.
  template <class S, std::size_t... I>
  static LORA_ALWAYS_INLINE void pick(const T* p, typename S::Vector& v,
                                      std::index_sequence<I...>) {
    const typename S::Vector low = *S::at(p);
    const typename S::Vector high = *S::at(p + S::kWidth - 1);
    v = __builtin_shufflevector(low, high, (2 * I)..., (S::kWidth + 1 + 2 * I)...);
  }
};

/// Fills the planes of the block that begins with row `first` of the result, but for the columns of
/// padding, which are 0 from the beginning.
struct CopyPlanesCore {
  template <int Bytes, class T>
  static LORA_ALWAYS_INLINE void run(const PlaneLayout& l, const T* source, std::int64_t first,
                                     T* planes) {
    const std::int64_t plane_rows = l.block_rows + l.rows.reach;
    const std::int64_t step = l.cols.step;
    for (std::int64_t col_phase = 0; col_phase < l.cols.phases; ++col_phase) {
      const std::int64_t start = l.cols.source_start(col_phase);
      const std::int64_t begin = std::min(l.pitch, start < 0 ? (-start + step - 1) / step : 0);
      const std::int64_t end = std::clamp((l.cols.size - start + step - 1) / step, begin, l.pitch);
      const std::int64_t first_col = begin * step + start;
      for (std::int64_t c = 0; c < l.channels; ++c) {
        for (std::int64_t row_phase = 0; row_phase < l.rows.phases; ++row_phase) {
          T* to =
              planes + c * l.channel + (row_phase * l.cols.phases + col_phase) * l.plane + begin;
          std::int64_t row = first * l.rows.step + l.rows.source_start(row_phase);
          for (std::int64_t k = 0; k < plane_rows; ++k, row += l.rows.step, to += l.pitch) {
            if (row < 0 || row >= l.rows.size) {
              std::fill_n(to, end - begin, T{});
              continue;
            }
            const T* const from = source + (c * l.source_plane + row * l.cols.size + first_col);
            if (step == 1) {
              write_run<Bytes>(to, end - begin, Neighbours<T>{from});
            } else if (step == 2) {
              write_run<Bytes>(to, end - begin, EverySecond<T>{from});
            } else {
              for (std::int64_t j = 0; j < end - begin; ++j) to[j] = from[j * step];
            }
          }
        }
      }
    }
  }
};

}  // namespace lora::inline v0::cpu
