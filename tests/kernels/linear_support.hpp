// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "kernels/support.hpp"

// What the tests of the products share. They go through lora::ops on Device::cuda, whether that is
// a GPU or its emulation.

namespace lora_test {

struct LayerSizes {
  index_t batch, in, out, rank = 1;
};

inline std::string text(const LayerSizes& s) {
  return "B=" + std::to_string(s.batch) + " I=" + std::to_string(s.in) +
         " O=" + std::to_string(s.out) + " R=" + std::to_string(s.rank);
}

/// The operands of one layer, its adapter and its gradient: small whole numbers, whose sums are
/// exact in any order, or normal ones.
struct LayerOperands {
  Tensor<float> x, w, bias, a, b, dy, relu_output;

  LayerOperands(const LayerSizes& s, bool integers, std::uint64_t seed) {
    const auto make = [&](Shape shape) {
      return integers ? random_integers<float>(shape, seed++) : random_tensor<float>(shape, seed++);
    };
    x = make({s.batch, s.in});
    w = make({s.out, s.in});
    bias = make({s.out});
    a = make({s.rank, s.in});
    b = make({s.out, s.rank});
    dy = make({s.batch, s.out});
    relu_output = random_integers<float>({s.batch, s.in}, seed++, 1);
  }
};

/// A matrix on the device inside a larger block: `offset` floats from its start, `padding` floats
/// between its rows, so that neither need be aligned. What surrounds it must stay as it was.
class EmbeddedMatrix {
 public:
  EmbeddedMatrix(const Tensor<float>& values, index_t offset, index_t padding)
      : rows_(values.dim(0)), cols_(values.dim(1)), offset_(offset), stride_(cols_ + padding) {
    Tensor<float> block({offset + rows_ * stride_ + 3});
    for (float& element : block.span()) element = kSurroundings;
    for (index_t i = 0; i < rows_; ++i) {
      for (index_t j = 0; j < cols_; ++j) block[offset_ + i * stride_ + j] = values(i, j);
    }
    block_ = on_gpu(block);
  }

  lora::MatrixView<float> view() { return {block_.vector().data + offset_, rows_, cols_, stride_}; }

  /// The matrix; fails the test if something beside it was written.
  Tensor<float> values() const {
    const Tensor<float> block = on_cpu(block_);
    Tensor<float> matrix({rows_, cols_});
    index_t inside = 0;
    for (index_t i = 0; i < block.numel(); ++i) {
      const index_t row = i < offset_ ? rows_ : (i - offset_) / stride_;
      const index_t column = i < offset_ ? 0 : (i - offset_) % stride_;
      if (row < rows_ && column < cols_) {
        matrix(row, column) = block[i];
        ++inside;
      } else if (block[i] != kSurroundings) {
        FAIL("element " << i << " beside the matrix was written");
      }
    }
    REQUIRE(inside == rows_ * cols_);
    return matrix;
  }

 private:
  static constexpr float kSurroundings = 77777;

  index_t rows_, cols_, offset_, stride_;
  Tensor<float> block_;
};

}  // namespace lora_test
