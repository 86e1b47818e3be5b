// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include <lora/io/adapter_file.hpp>

#include "support/matrices.hpp"
#include "support/tensors.hpp"

namespace lora_test {

/// A Linear's adapter of normal random numbers.
inline lora::AdapterLayer<float> random_layer(index_t out, index_t in, index_t rank, double scale,
                                              std::uint64_t seed) {
  lora::AdapterLayer<float> layer;
  layer.lora_A = random_tensor<float>({rank, in}, seed);
  layer.lora_B = random_tensor<float>({out, rank}, seed + 1000);
  layer.scale = scale;
  layer.lora_alpha = scale * static_cast<double>(rank);
  return layer;
}

/// That of a convolution with one group.
inline lora::AdapterLayer<float> random_conv_layer(index_t out, Shape kernel, index_t rank,
                                                   double scale, std::uint64_t seed) {
  const index_t in = kernel.numel();
  lora::AdapterLayer<float> layer = random_layer(out, in, rank, scale, seed);
  layer.lora_A.reshape({rank, kernel[0], kernel[1], kernel[2]});
  layer.lora_B.reshape({out, rank, 1, 1});
  return layer;
}

/// What the layer adds to the stored weight, in double: (O, I), of an embedding (V, D); of a
/// convolution the kernels as rows.
inline Tensor<double> delta(const lora::AdapterLayer<float>& layer) {
  Tensor<float> a = layer.lora_A, b = layer.lora_B;
  a.reshape({a.dim(0), a.numel() / a.dim(0)});
  b.reshape({b.dim(0), b.numel() / b.dim(0)});
  Tensor<double> sum = product(b, a);
  for (double& x : sum.span()) x *= layer.scale;
  return layer.embedding ? transposed(sum) : sum;
}

/// |x - y| / |y|, of the square roots of the sums of squares.
template <class T, class U>
double relative_distance(const Tensor<T>& x, const Tensor<U>& y) {
  const Tensor<double> zero(y.shape());
  return distance(x, y) / distance(y, zero);
}

}  // namespace lora_test
