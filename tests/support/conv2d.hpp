// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include <lora/ops/conv2d.hpp>

#include "support/tensors.hpp"

namespace lora_test {

struct ConvCase {
  index_t batch, channels, height, width, outputs;
  lora::HeightWidth kernel;
  lora::Conv2dOptions options = {};

  Shape x_shape() const { return {batch, channels, height, width}; }
  Shape w_shape() const { return {outputs, channels / options.groups, kernel.h, kernel.w}; }
  double terms() const {
    return static_cast<double>(channels / options.groups * kernel.h * kernel.w);
  }
};

inline std::string text(const ConvCase& c) {
  return "x " + c.x_shape().to_string() + ", w " + c.w_shape().to_string() + ", stride " +
         c.options.stride.to_string() + ", padding " + c.options.padding.to_string() +
         ", dilation " + c.options.dilation.to_string() + ", groups " +
         std::to_string(c.options.groups);
}

// Ragged on purpose: kernels, strides, paddings and dilations of unequal sides, rows of every
// length around a vector's, blocks of outputs of every size, images that are split, and none.
inline const ConvCase kConvCases[] = {
    {1, 1, 1, 1, 1, {1, 1}},
    {2, 3, 5, 7, 4, {1, 1}},
    {3, 5, 7, 7, 13, {1, 1}},
    {3, 4, 9, 6, 6, {1, 1}, {.stride = {2, 3}, .groups = 2}},
    {3, 6, 9, 8, 8, {1, 1}, {.groups = 2}},
    {10, 1, 28, 28, 16, {3, 3}, {.stride = 2, .padding = 1}},
    {5, 16, 14, 14, 32, {3, 3}, {.stride = 2, .padding = 1}},
    {2, 16, 28, 28, 9, {3, 3}, {.padding = 1}},
    {2, 4, 11, 17, 7, {3, 3}},
    {2, 3, 12, 9, 5, {2, 5}, {.stride = {1, 2}, .padding = {0, 3}}},
    {2, 4, 13, 10, 6, {2, 5}, {.stride = {3, 1}, .padding = {2, 1}, .dilation = {2, 1}}},
    {2,
     4,
     15,
     16,
     6,
     {3, 3},
     {.stride = {2, 3}, .padding = {3, 2}, .dilation = {3, 2}, .groups = 2}},
    {3, 6, 10, 8, 6, {3, 3}, {.padding = 1, .groups = 6}},
    {3, 6, 10, 33, 12, {3, 2}, {.stride = 2, .padding = {1, 0}, .dilation = 2, .groups = 6}},
    {1, 2, 3, 3, 3, {3, 3}},
    {1, 2, 3, 40, 3, {3, 3}, {.stride = 3, .padding = 3}},
    {2, 2, 4, 4, 3, {1, 1}, {.padding = 3}},
    {2, 2, 9, 9, 3, {2, 2}, {.stride = 3, .dilation = 3}},
    {2, 3, 7, 5, 4, {5, 3}, {.stride = 4, .padding = 2}},
    {1, 40, 41, 43, 35, {3, 3}, {.padding = 1}},
    {1, 33, 70, 65, 3, {3, 3}, {.stride = 2, .padding = 1}},
    {0, 2, 5, 5, 3, {3, 3}},
};

/// The operands and results of a case, all in double: a plain sum for every element.
struct ConvReference {
  Tensor<double> y, dx, dw, db;

  template <class T>
  ConvReference(const ConvCase& c, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias,
                const Tensor<T>& dy)
      : y(dy.shape()), dx(x.shape()), dw(w.shape()), db(bias.shape()) {
    const lora::Conv2dOptions& o = c.options;
    const index_t in_group = c.channels / o.groups;
    const index_t out_group = c.outputs / o.groups;
    const index_t out_h = dy.dim(2), out_w = dy.dim(3);
    index_t at = 0;
    for (index_t n = 0; n < c.batch; ++n) {
      for (index_t out = 0; out < c.outputs; ++out) {
        for (index_t i = 0; i < out_h; ++i) {
          for (index_t j = 0; j < out_w; ++j, ++at) {
            const double g = static_cast<double>(dy[at]);
            db[out] += g;
            y[at] = static_cast<double>(bias[out]);
            for (index_t ch = 0; ch < in_group; ++ch) {
              for (index_t a = 0; a < c.kernel.h; ++a) {
                for (index_t b = 0; b < c.kernel.w; ++b) {
                  const index_t row = i * o.stride.h + a * o.dilation.h - o.padding.h;
                  const index_t col = j * o.stride.w + b * o.dilation.w - o.padding.w;
                  if (row < 0 || row >= c.height || col < 0 || col >= c.width) continue;
                  const index_t channel = out / out_group * in_group + ch;
                  const index_t x_at =
                      ((n * c.channels + channel) * c.height + row) * c.width + col;
                  const index_t w_at = ((out * in_group + ch) * c.kernel.h + a) * c.kernel.w + b;
                  y[at] += static_cast<double>(x[x_at]) * static_cast<double>(w[w_at]);
                  dx[x_at] += g * static_cast<double>(w[w_at]);
                  dw[w_at] += g * static_cast<double>(x[x_at]);
                }
              }
            }
          }
        }
      }
    }
  }
};

/// Random operands; dy has the shape that PyTorch's documentation states.
template <class T>
struct ConvOperands {
  Tensor<T> x, w, bias, dy;

  ConvOperands(Tensor<T> x, Tensor<T> w, Tensor<T> bias, Tensor<T> dy)
      : x(std::move(x)), w(std::move(w)), bias(std::move(bias)), dy(std::move(dy)) {}

  ConvOperands(const ConvCase& c, bool integers, std::uint64_t seed) {
    const auto make = [&](Shape shape) {
      return integers ? random_integers<T>(shape, seed++, 2) : random_tensor<T>(shape, seed++);
    };
    const auto size = [](index_t in, index_t p, index_t d, index_t k, index_t s) {
      return static_cast<index_t>(std::floor(
          static_cast<double>(in + 2 * p - d * (k - 1) - 1) / static_cast<double>(s) + 1));
    };
    const lora::Conv2dOptions& o = c.options;
    x = make(c.x_shape());
    w = make(c.w_shape());
    bias = make({c.outputs});
    dy =
        make({c.batch, c.outputs, size(c.height, o.padding.h, o.dilation.h, c.kernel.h, o.stride.h),
              size(c.width, o.padding.w, o.dilation.w, c.kernel.w, o.stride.w)});
  }
};

/// What the ops give, on the device that the operands are on.
template <class T>
struct ConvResults {
  Tensor<T> y, dx, dw, db;

  ConvResults(const ConvCase& c, const ConvOperands<T>& o,
              lora::Device device = lora::Device::cpu) {
    const auto x = o.x.to(device), w = o.w.to(device), bias = o.bias.to(device);
    const auto dy = o.dy.to(device);
    dx.resize(x.shape(), device);
    dw.resize(w.shape(), device);
    lora::ops::conv2d(x, w, &bias, y, c.options);
    lora::ops::conv2d_backward_input(dy, w, dx, c.options);
    lora::ops::conv2d_backward_weight(dy, x, dw, c.options);
    lora::ops::conv2d_backward_bias(dy, db);
    for (Tensor<T>* t : {&y, &dx, &dw, &db}) *t = t->to(lora::Device::cpu);
  }
};

}  // namespace lora_test
