// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/cpu/conv2d.hpp>
#include <lora/detail/conv2d_sizes.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

// y[n, o, i, j] = bias[o] + Σ_c,a,b w[o, c, a, b] x[n, c', i s + a d - p, j s + b d - p]
//
// x: (N, C, H, W), w: (O, C/groups, KH, KW), bias: (O,), y: (N, O, H', W'), where s is the stride,
// d the dilation and p the padding of each axis, c' is channel c of the group that o is in, and x
// is 0 outside its rows and columns. H' = ⌊(H + 2 p - d (KH - 1) - 1) / s⌋ + 1, and W' likewise:
// this is torch.nn.functional.conv2d.
//
// Errors: ValueError on an option out of range, ShapeError and DeviceError.

namespace lora::inline v0 {

/// A number for each axis of an image: of rows (h) and of columns (w).
struct HeightWidth {
  index_t h, w;

  constexpr HeightWidth(index_t both) : h(both), w(both) {}
  constexpr HeightWidth(index_t h, index_t w) : h(h), w(w) {}
  friend constexpr bool operator==(const HeightWidth&, const HeightWidth&) = default;

  std::string to_string() const {
    return std::string("(") + std::to_string(h) + ", " + std::to_string(w) + ")";
  }
};

struct Conv2dOptions {
  HeightWidth stride = 1;
  HeightWidth padding = 0;
  HeightWidth dilation = 1;
  index_t groups = 1;  ///< of channels that are convolved with each other; C: depthwise
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_conv_option(const char* op, const char* name,
                                                             const HeightWidth& value,
                                                             const char* least) {
  throw ValueError(std::string(op) + ": " + name + " is " + value.to_string() +
                   ", both must be at least " + least);
}

inline void require_conv_options(const char* op, const Conv2dOptions& o) {
  if (o.stride.h < 1 || o.stride.w < 1) throw_conv_option(op, "stride", o.stride, "1");
  if (o.padding.h < 0 || o.padding.w < 0) throw_conv_option(op, "padding", o.padding, "0");
  if (o.dilation.h < 1 || o.dilation.w < 1) throw_conv_option(op, "dilation", o.dilation, "1");
  if (o.groups < 1) {
    throw ValueError(std::string(op) + ": groups is " + std::to_string(o.groups) +
                     ", must be at least 1");
  }
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_conv_shape(const char* op, const char* name,
                                                            const TensorFacts& y,
                                                            const Shape& expected) {
  throw ShapeError(std::string(op) + ": " + name + " is " + describe(y.shape, y.device) +
                   ", expected " + expected.to_string());
}

/// The sizes of a convolution whose operands fit together.
LORA_NEVER_INLINE inline Conv2dSizes conv2d_sizes(const char* op, const char* x_name,
                                                  const TensorFacts& x, const char* w_name,
                                                  const TensorFacts& w, const Conv2dOptions& o) {
  require_conv_options(op, o);
  require_same_device(op, x_name, x, w_name, w);
  const Shape& image = x.shape;
  const Shape& kernel = w.shape;
  const auto refuse = [&](const std::string& rule) {
    throw_mismatch<ShapeError>(op, x_name, x, w_name, w, rule);
  };
  if (image.rank() != 4 || kernel.rank() != 4) refuse("both must have four sizes");
  if (image[1] != kernel[1] * o.groups || kernel[0] % o.groups != 0) {
    refuse("with groups = " + std::to_string(o.groups) + ", size 1 of " + x_name +
           " must be that times size 1 of " + w_name + ", and size 0 of " + w_name +
           " a multiple of it");
  }
  const auto axis = [&](int i, index_t stride, index_t padding, index_t dilation) {
    if (kernel[i] < 1) refuse("the kernel has no element");
    const index_t room = image[i] + 2 * padding - dilation * (kernel[i] - 1) - 1;
    if (room < 0) {
      refuse("with padding " + o.padding.to_string() + " and dilation " + o.dilation.to_string() +
             " the kernel is larger than the image");
    }
    return ConvAxis{image[i], room / stride + 1, kernel[i], stride, padding, dilation};
  };
  return {image[0],
          image[1],
          kernel[0],
          o.groups,
          axis(2, o.stride.h, o.padding.h, o.dilation.h),
          axis(3, o.stride.w, o.padding.w, o.dilation.w)};
}

inline Shape output_shape(const Conv2dSizes& s) {
  return {s.batch, s.out_channels, s.rows.out, s.cols.out};
}

inline void require_conv_shape(const char* op, const char* name, const TensorFacts& y,
                               const Shape& expected, const char* x_name, const TensorFacts& x) {
  require_same_device(op, name, y, x_name, x);
  if (y.shape != expected) throw_conv_shape(op, name, y, expected);
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = the convolution of x by w, plus bias unless that is null; with `accumulate`, y += that.
template <class T>
void conv2d(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>* bias, Tensor<T>& y,
            const Conv2dOptions& options = {}, bool accumulate = false) {
  const detail::Conv2dSizes s = detail::conv2d_sizes("conv2d", "x", x, "weight", w, options);
  if (bias) detail::require_conv_shape("conv2d", "bias", *bias, {w.dim(0)}, "x", x);
  if (accumulate) {
    detail::require_conv_shape("conv2d", "y", y, detail::output_shape(s), "x", x);
  } else {
    y.resize(detail::output_shape(s), x.device());
  }
  detail::dispatch<T>("conv2d", x.device(), cpu::conv2d<T>, &detail::Backend::conv2d, x.vector(),
                      w.vector(), detail::optional_vector(bias), y.vector(), s, accumulate);
}

/// The gradient of x: stored in dx, or added to it. dx keeps the shape it is given, which must be
/// that of x: a stride leaves it open how large x was.
template <class T>
void conv2d_backward_input(const Tensor<T>& dy, const Tensor<T>& w, Tensor<T>& dx,
                           const Conv2dOptions& options = {}, bool accumulate = false) {
  constexpr const char* kOp = "conv2d_backward_input";
  if (!accumulate) dx.resize(dx.shape(), dy.device());
  const detail::Conv2dSizes s = detail::conv2d_sizes(kOp, "dx", dx, "weight", w, options);
  detail::require_conv_shape(kOp, "dy", dy, detail::output_shape(s), "dx", dx);
  detail::dispatch<T>(kOp, dy.device(), cpu::conv2d_backward_input<T>,
                      &detail::Backend::conv2d_backward_input, dy.vector(), w.vector(), dx.vector(),
                      s, accumulate);
}

/// The gradient of w: stored in dw, or added to it. dw keeps the shape it is given, which must be
/// that of w.
template <class T>
void conv2d_backward_weight(const Tensor<T>& dy, const Tensor<T>& x, Tensor<T>& dw,
                            const Conv2dOptions& options = {}, bool accumulate = false) {
  constexpr const char* kOp = "conv2d_backward_weight";
  if (!accumulate) dw.resize(dw.shape(), dy.device());
  const detail::Conv2dSizes s = detail::conv2d_sizes(kOp, "x", x, "dw", dw, options);
  detail::require_conv_shape(kOp, "dy", dy, detail::output_shape(s), "x", x);
  detail::dispatch<T>(kOp, dy.device(), cpu::conv2d_backward_weight<T>,
                      &detail::Backend::conv2d_backward_weight, dy.vector(), x.vector(),
                      dw.vector(), s, accumulate);
}

/// The gradient of bias, Σ_n,i,j dy[n, o, i, j]: stored in db, or added to it. dy: (N, O, H', W')
template <class T>
void conv2d_backward_bias(const Tensor<T>& dy, Tensor<T>& db, bool accumulate = false) {
  constexpr const char* kOp = "conv2d_backward_bias";
  if (dy.shape().rank() != 4) {
    throw ShapeError(std::string(kOp) + ": dy is " + describe(dy) + ", must have four sizes");
  }
  if (accumulate) {
    detail::require_conv_shape(kOp, "db", db, {dy.dim(1)}, "dy", dy);
  } else {
    db.resize({dy.dim(1)}, dy.device());
  }
  const index_t plane = dy.dim(2) * dy.dim(3);
  detail::dispatch<T>(
      kOp, dy.device(), cpu::conv2d_backward_bias<T>, &detail::Backend::conv2d_backward_bias,
      MatrixView<const T>{dy.data(), dy.dim(0) * dy.dim(1), plane, plane}, db.vector(), accumulate);
}

}  // namespace lora::inline v0::ops
