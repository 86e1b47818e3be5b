// SPDX-License-Identifier: MIT
#pragma once

#include <lora/error.hpp>
#include <lora/ops/dot.hpp>
#include <lora/ops/elementwise.hpp>
#include <lora/ops/linear.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// The gradient of one parameter: nothing yet, a dense tensor, or two factors.
///
/// A linear layer's weight gradient is dyᵀ x with no more rows than the batch, so its factors are
/// far smaller than the product, and an optimizer can form the product in registers while it
/// updates the weight. Accumulating appends rows; once the factors would be no smaller than the
/// product, it is formed and kept instead.
template <class T>
class Gradient {
 public:
  bool empty() const noexcept { return form_ == Form::none; }
  bool is_factored() const noexcept { return form_ == Form::factored; }

  /// += dyᵀ x, the gradient of a weight (O, I); dy: (B, O), x: (B, I), or more sizes in front. Both
  /// are copied.
  void accumulate_outer(const Tensor<T>& dy, const Tensor<T>& x) {
    detail::require_equal_dims("Gradient::accumulate_outer", "dy", dy, 0, "x", x, 0);
    if (form_ == Form::none) rows_ = 0;
    const index_t rows = rows_ + dy.rows();
    const bool worth_it = rows * (dy.cols() + x.cols()) < dy.cols() * x.cols();
    if (form_ != Form::dense && worth_it) {
      append_rows(dy_, dy);
      append_rows(x_, x);
      rows_ = rows;
      form_ = Form::factored;
      return;
    }
    accumulate_with(
        [&](Tensor<T>& dense, bool add) { ops::linear_backward_weight(dy, x, dense, add); });
  }

  /// += Σ_rows dy, the gradient of a bias (O,).
  void accumulate_rows(const Tensor<T>& dy) {
    accumulate_with([&](Tensor<T>& dense, bool add) { ops::linear_backward_bias(dy, dense, add); });
  }

  /// += gradient
  void accumulate(const Tensor<T>& gradient) {
    accumulate_with([&](Tensor<T>& dense, bool add) {
      if (add) {
        ops::add(gradient, dense);
      } else {
        dense = gradient;
      }
    });
  }

  /// Calls write(dense, add), which stores a gradient in `dense`, or adds it to what is there.
  template <class Write>
  void accumulate_with(const Write& write) {
    materialize();
    write(dense_, form_ == Form::dense);
    form_ = Form::dense;
  }

  /// *= factor. Of two factors the smaller one is multiplied; an empty gradient stays empty.
  void scale(double factor) {
    if (form_ == Form::dense) ops::scale(dense_, factor);
    if (form_ == Form::factored) ops::scale(dy_.numel() < x_.numel() ? dy_ : x_, factor);
  }

  /// results[i] = the sum of the squares of all elements; see ops/dot.hpp. The product of two
  /// factors is formed only where that is cheaper. Throws ValueError when empty.
  void squared_norm(Tensor<double>& results, index_t i) {
    // Measured: a multiply-add in double, of rows that are read again and again, costs some eight
    // of those that form the product, and half of all pairs of rows are needed.
    if (is_factored() && 4 * rows_ * (dy_.cols() + x_.cols()) < dy_.cols() * x_.cols()) {
      return ops::squared_norm_factored(dy_, x_, results, i);
    }
    const Tensor<T>& all = dense();
    ops::dot(all, all, results, i);
  }

  /// The factors of dyᵀ x. Only while is_factored().
  const Tensor<T>& dy() const noexcept { return dy_; }
  const Tensor<T>& x() const noexcept { return x_; }

  /// The gradient as one tensor, formed first if it was factored. Throws ValueError when empty.
  const Tensor<T>& dense() {
    if (empty()) throw ValueError("Gradient::dense: no backward pass has filled this gradient");
    materialize();
    return dense_;
  }

  /// Empties the gradient and keeps its memory for the next one.
  void clear() noexcept { form_ = Form::none; }

 private:
  enum class Form { none, factored, dense };

  void materialize() {
    if (form_ != Form::factored) return;
    ops::linear_backward_weight(dy_, x_, dense_);
    form_ = Form::dense;
  }

  void append_rows(Tensor<T>& to, const Tensor<T>& from) const {
    if (rows_ == 0) {
      to = from;
      return;
    }
    Tensor<T> longer;
    longer.resize({rows_ + from.rows(), from.cols()}, from.device());
    const auto bytes = [](const Tensor<T>& x) {
      return static_cast<std::size_t>(x.numel()) * sizeof(T);
    };
    const Device device = from.device();
    detail::copy_bytes(longer.data(), device, to.data(), device, bytes(to));
    detail::copy_bytes(longer.data() + to.numel(), device, from.data(), device, bytes(from));
    to = std::move(longer);
  }

  Form form_ = Form::none;
  index_t rows_ = 0;
  Tensor<T> dy_, x_, dense_;
};

}  // namespace lora::inline v0
