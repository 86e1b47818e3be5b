// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>

#include <lora/cpu/embedding.hpp>
#include <lora/detail/dispatch.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

// y = W[index]                        indices: (…) of rank 1 to 3, W: (V, D), y: (…, D)
// dW[v] = Σ dy over the places where the index is v
//
// h = s A[:, index]                   A: (R, V), h: (…, R): LoRA on an embedding, whose update of W
//                                     is s (B A)ᵀ with B: (D, R), as in PEFT
// dA[:, v] = s Σ dh over the same places
//
// Indices are whole numbers in the tensors' own element type, so that an embedding is a layer like
// any other: a float holds every whole number up to 2²⁴. Equal indices are summed in the order of
// the batch, on every device and on any number of threads.
//
// Errors: ShapeError, DeviceError and, on the CPU, ValueError on an index that is no whole number
// in [0, V), before anything is written. A kernel cannot throw: on a GPU the row of such an index
// becomes NaN, and the backward pass leaves it out.

namespace lora::inline v0::detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_wrong_index(const char* op, double index,
                                                             index_t position,
                                                             const TensorFacts& indices,
                                                             index_t size) {
  char value[32];
  std::snprintf(value, sizeof value, "%.9g", index);
  throw ValueError(std::string(op) + ": index " + value + " at position " +
                   std::to_string(position) + " of indices " +
                   describe(indices.shape, indices.device) + " is no whole number from 0 to " +
                   std::to_string(size - 1));
}

template <class T>
void require_indices(const char* op, const Tensor<T>& indices, index_t size) {
  if (indices.device() != Device::cpu) return;
  const T end = static_cast<T>(size);
  for (index_t i = 0; i < indices.numel(); ++i) {
    const T index = indices[i];
    if (!(index >= 0 && index < end) || std::floor(index) != index) {
      throw_wrong_index(op, static_cast<double>(index), i, indices, size);
    }
  }
}

/// (…) becomes (…, cols).
inline Shape with_new_cols(const char* op, const TensorFacts& indices, index_t cols) {
  const int rank = indices.shape.rank();
  if (rank < 1 || rank >= Shape::kMaxRank) {
    throw ShapeError(std::string(op) + ": indices is " + describe(indices.shape, indices.device) +
                     ", expected 1 to 3 sizes");
  }
  std::array<index_t, Shape::kMaxRank> sizes{};
  for (int i = 0; i < rank; ++i) sizes[static_cast<std::size_t>(i)] = indices.shape[i];
  sizes[static_cast<std::size_t>(rank)] = cols;
  return Shape(sizes.begin(), sizes.begin() + rank + 1);
}

/// `x` must be (…, cols) for indices (…).
inline void require_rows_of_indices(const char* op, const char* name, const TensorFacts& x,
                                    const TensorFacts& indices, index_t cols) {
  require_same_device(op, name, x, "indices", indices);
  const Shape expected = with_new_cols(op, indices, cols);
  if (x.shape != expected) {
    throw_mismatch<ShapeError>(op, name, x, "indices", indices,
                               std::string(name) + " must be " + expected.to_string());
  }
}

/// What an index tensor and a matrix that it picks rows or columns of must be.
template <class T>
void require_embedding_operands(const char* op, const Tensor<T>& indices, const char* name,
                                const Tensor<T>& matrix) {
  require_same_device(op, "indices", indices, name, matrix);
  if (matrix.shape().rank() == 2) return;
  throw ShapeError(std::string(op) + ": " + name + " is " + describe(matrix) +
                   ", expected two sizes");
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::ops {

/// y = W[index], resized to fit; or y += W[index].
template <class T>
void embedding(const Tensor<T>& indices, const Tensor<T>& weight, Tensor<T>& y,
               bool accumulate = false) {
  constexpr const char* kOp = "embedding";
  detail::require_embedding_operands(kOp, indices, "weight", weight);
  const Shape shape = detail::with_new_cols(kOp, indices, weight.dim(1));
  if (accumulate) detail::require_rows_of_indices(kOp, "y", y, indices, weight.dim(1));
  detail::require_indices(kOp, indices, weight.dim(0));
  if (!accumulate) y.resize(shape, weight.device());
  detail::dispatch<T>(kOp, weight.device(), cpu::embedding<T>, &detail::Backend::embedding,
                      indices.vector(), weight.matrix(), y.matrix(), accumulate);
}

/// dW = what dy gives, and 0 in the rows of indices that do not occur; or dW += what dy gives. `dw`
/// has its shape already: nothing else tells V.
template <class T>
void embedding_backward(const Tensor<T>& dy, const Tensor<T>& indices, Tensor<T>& dw,
                        bool accumulate = false) {
  constexpr const char* kOp = "embedding_backward";
  detail::require_embedding_operands(kOp, indices, "dw", dw);
  detail::require_rows_of_indices(kOp, "dy", dy, indices, dw.dim(1));
  detail::require_indices(kOp, indices, dw.dim(0));
  detail::dispatch<T>(kOp, dw.device(), cpu::embedding_backward<T>,
                      &detail::Backend::embedding_backward, dy.matrix(), indices.vector(),
                      dw.matrix(), accumulate);
}

/// h = scale A[:, index], resized to fit.
template <class T>
void embedding_columns(const Tensor<T>& indices, const Tensor<T>& a, Tensor<T>& h, double scale) {
  constexpr const char* kOp = "embedding_columns";
  detail::require_embedding_operands(kOp, indices, "a", a);
  const Shape shape = detail::with_new_cols(kOp, indices, a.dim(0));
  detail::require_indices(kOp, indices, a.dim(1));
  h.resize(shape, a.device());
  detail::dispatch<T>(kOp, a.device(), cpu::embedding_columns<T>,
                      &detail::Backend::embedding_columns, indices.vector(), a.matrix(), h.matrix(),
                      scale);
}

/// dA = what dh gives, and 0 in the columns of indices that do not occur; or dA += what dh gives.
/// `da` has its shape already.
template <class T>
void embedding_columns_backward(const Tensor<T>& dh, const Tensor<T>& indices, Tensor<T>& da,
                                double scale, bool accumulate = false) {
  constexpr const char* kOp = "embedding_columns_backward";
  detail::require_embedding_operands(kOp, indices, "da", da);
  detail::require_rows_of_indices(kOp, "dh", dh, indices, da.dim(0));
  detail::require_indices(kOp, indices, da.dim(1));
  detail::dispatch<T>(kOp, da.device(), cpu::embedding_columns_backward<T>,
                      &detail::Backend::embedding_columns_backward, dh.matrix(), indices.vector(),
                      da.matrix(), scale, accumulate);
}

}  // namespace lora::inline v0::ops
