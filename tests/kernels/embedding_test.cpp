// SPDX-License-Identifier: MIT
#include <lora/ops/embedding.hpp>

#include <cmath>
#include <limits>

#include "kernels/support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

/// Indices in [0, size), the lower ones more often.
Tensor<float> random_indices(index_t count, index_t size, std::uint64_t seed) {
  Tensor<float> indices({count});
  lora::PhiloxGenerator(seed).uniform(indices.span(), 0, 1);
  for (float& index : indices.span()) index = std::floor(index * index * static_cast<float>(size));
  return indices;
}

/// Batches below, at and above the positions that a block looks at together.
struct Sizes {
  index_t count, vocabulary, cols;
};
constexpr Sizes kEmbeddings[] = {{0, 10, 4},  {1, 1, 1},      {10, 10, 64}, {40, 10, 300},
                                 {256, 3, 1}, {257, 300, 33}, {257, 1, 8},  {600, 10, 10}};

}  // namespace

TEST_CASE("embedding and its backward pass give the CPU's bits", "[kernels][embedding]") {
  for (const auto& [count, vocabulary, cols] : kEmbeddings) {
    INFO(count << " indices, weight (" << vocabulary << ", " << cols << ")");
    const auto indices = random_indices(count, vocabulary, 1);
    const auto weight = random_tensor<float>({vocabulary, cols}, 2);
    const auto dy = random_tensor<float>({count, cols}, 3);
    const Tensor<float> gpu_indices = on_gpu(indices);
    Tensor<float> y, gpu_y, dw({vocabulary, cols}), gpu_dw = on_gpu(weight);
    for (const bool accumulate : {false, true}) {
      ops::embedding(indices, weight, y, accumulate);
      ops::embedding(gpu_indices, on_gpu(weight), gpu_y, accumulate);
      CHECK(same_bits(on_cpu(gpu_y), y));
      ops::embedding_backward(dy, indices, dw, accumulate);
      ops::embedding_backward(on_gpu(dy), gpu_indices, gpu_dw, accumulate);
      CHECK(same_bits(on_cpu(gpu_dw), dw));
    }
  }
}

TEST_CASE("embedding_columns and its backward pass give the CPU's bits", "[kernels][embedding]") {
  for (const auto& [count, vocabulary, rank] : kEmbeddings) {
    INFO(count << " indices, a (" << rank << ", " << vocabulary << ")");
    const auto indices = random_indices(count, vocabulary, 1);
    const auto a = random_tensor<float>({rank, vocabulary}, 2);
    const auto dh = random_tensor<float>({count, rank}, 3);
    const Tensor<float> gpu_indices = on_gpu(indices);
    Tensor<float> h, gpu_h, da({rank, vocabulary}), gpu_da = on_gpu(a);
    ops::embedding_columns(indices, a, h, 0.7);
    ops::embedding_columns(gpu_indices, on_gpu(a), gpu_h, 0.7);
    CHECK(same_bits(on_cpu(gpu_h), h));
    for (const bool accumulate : {false, true}) {
      ops::embedding_columns_backward(dh, indices, da, 0.7, accumulate);
      ops::embedding_columns_backward(on_gpu(dh), gpu_indices, gpu_da, 0.7, accumulate);
      CHECK(same_bits(on_cpu(gpu_da), da));
    }
  }
}

TEST_CASE("on a GPU what is no index gives NaN, and no gradient", "[kernels][embedding]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor<float> indices({8}, {1, -1, 3, 0.5f, NAN, infinity, 1e30f, 1});
  const Tensor<float> gpu_indices = on_gpu(indices);
  for (const index_t cols : {4, 5}) {
    INFO(cols << " columns");
    const auto weight = random_tensor<float>({3, cols}, 1), a = random_tensor<float>({cols, 3}, 2);
    const auto dy = random_integers<float>({8, cols}, 3);
    Tensor<float> y, h, dw = on_gpu(Tensor<float>({3, cols})),
                        da = on_gpu(Tensor<float>({cols, 3}));
    ops::embedding(gpu_indices, on_gpu(weight), y);
    ops::embedding_columns(gpu_indices, on_gpu(a), h, 2);
    ops::embedding_backward(on_gpu(dy), gpu_indices, dw);
    ops::embedding_columns_backward(on_gpu(dy), gpu_indices, da, 2);
    y = on_cpu(y);
    h = on_cpu(h);
    Tensor<float> expected_dw({3, cols}), expected_da({cols, 3});
    for (index_t j = 0; j < cols; ++j) {
      for (index_t i = 0; i < 8; ++i) {
        const bool is_index = i == 0 || i == 7;
        CHECK((is_index ? y(i, j) == weight(1, j) : std::isnan(y(i, j))));
        CHECK((is_index ? h(i, j) == 2 * a(j, 1) : std::isnan(h(i, j))));
      }
      expected_dw(1, j) = dy(0, j) + dy(7, j);
      expected_da(j, 1) = 2 * expected_dw(1, j);
    }
    CHECK(same_bits(on_cpu(dw), expected_dw));
    CHECK(same_bits(on_cpu(da), expected_da));
  }
}
