// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <numeric>

namespace lora::inline v0::detail {

/// One of the two axes of a convolution: y has `out` elements, and y[i] is the sum over t < kernel
/// of w[t] x[i stride + t dilation - padding], where x is 0 outside its `in` elements.
struct ConvAxis {
  std::int64_t in, out, kernel, stride, padding, dilation;
};

/// A 2-D convolution whose sizes have been checked: x (N, C, H, W), w (O, C/groups, KH, KW),
/// y (N, O, H', W'). Group g makes its O/groups channels of y of its C/groups channels of x.
struct Conv2dSizes {
  std::int64_t batch, channels, out_channels, groups;
  ConvAxis rows, cols;

  std::int64_t group_channels() const { return channels / groups; }
  std::int64_t group_outputs() const { return out_channels / groups; }
  std::int64_t kernel() const { return rows.kernel * cols.kernel; }
  std::int64_t in_plane() const { return rows.in * cols.in; }
  std::int64_t out_plane() const { return rows.out * cols.out; }
  std::int64_t taps() const { return group_channels() * kernel(); }  // of an element of y
};

/// How some of the indices of a result read their source, along one axis: index first + i step, for
/// i < count, is the sum over t < taps of kernel element first_tap + t tap_step times the source at
/// start + i source_step + t source_tap, which is 0 outside its `size` elements.
struct AxisGather {
  std::int64_t first, step, count;
  std::int64_t first_tap, tap_step, taps;
  std::int64_t start, source_step, source_tap, size;
};

/// y reads x.
inline AxisGather gather_output(const ConvAxis& a) {
  return {0, 1, a.out, 0, 1, a.kernel, -a.padding, a.stride, a.dilation, a.in};
}

/// dx reads dy: x[j] is in y[i] by tap t where j + padding = i stride + t dilation. So the j of one
/// `residue` of j + padding by the stride have the same taps, those with t dilation of that residue
/// too, and neighbouring j read neighbouring i.
inline AxisGather gather_input(const ConvAxis& a, std::int64_t residue) {
  const std::int64_t s = a.stride;
  const std::int64_t first = ((residue - a.padding) % s + s) % s;
  const std::int64_t count = first < a.in ? (a.in - first + s - 1) / s : 0;
  const std::int64_t tap_step = s / std::gcd(s, a.dilation);
  std::int64_t first_tap = 0;
  while (first_tap < tap_step && first_tap * a.dilation % s != residue) ++first_tap;
  const bool reached = first_tap < tap_step && first_tap < a.kernel;
  const std::int64_t taps = reached ? (a.kernel - 1 - first_tap) / tap_step + 1 : 0;
  const std::int64_t start =
      (first + a.padding - residue) / s - (reached ? (first_tap * a.dilation - residue) / s : 0);
  return {first, s, count, first_tap, tap_step, taps, start, 1, -(tap_step * a.dilation / s),
          a.out};
}

}  // namespace lora::inline v0::detail
