// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <lora/error.hpp>
#include <lora/parameter.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// Multiplies the gradients by max_norm / (norm + 1e-6) if that is below 1, where `norm` is the
/// Euclidean norm of all of them together, and returns the norm as it was; as
/// torch.nn.utils.clip_grad_norm_. Parameters that are frozen or have no gradient are left out.
///
///     net.backward(dlogits, saved);
///     clip_grad_norm(net.parameters(), 1.0);
///     adam.step();
///
/// It needs all gradients before the first update, so it cannot go with backward_and_step. A weight
/// gradient of few rows stays in its factors. The squares are added up in double, in an order that
/// depends on the shapes alone; on a GPU the host waits once, for the norm.
///
/// A norm that is infinite or NaN leaves the gradients as they are, for the caller to look at or to
/// drop, or throws ValueError where `error_if_nonfinite` asks for it. Throws ValueError on a
/// max_norm below 0; INFINITY only measures.
template <class T>
double clip_grad_norm(const std::vector<Parameter<T>*>& parameters, double max_norm,
                      bool error_if_nonfinite = false) {
  if (!(max_norm >= 0)) {
    throw ValueError("clip_grad_norm: max_norm is " + std::to_string(max_norm) +
                     ", expected at least 0");
  }
  std::vector<Parameter<T>*> clipped;
  for (Parameter<T>* parameter : parameters) {
    if (parameter->trainable && !parameter->grad.empty()) clipped.push_back(parameter);
  }
  if (clipped.empty()) return 0;

  Tensor<double> squares({static_cast<index_t>(clipped.size())}, clipped[0]->value.device());
  index_t count = 0;
  for (Parameter<T>* parameter : clipped) parameter->grad.squared_norm(squares, count++);
  squares = squares.to(Device::cpu);
  double sum = 0;
  for (const double square : squares.span()) sum += square;
  const double norm = std::sqrt(sum);
  if (!std::isfinite(norm)) {
    if (!error_if_nonfinite) return norm;
    throw ValueError("clip_grad_norm: the norm of the gradients is " + std::to_string(norm) +
                     ", expected a finite one");
  }
  const double factor = max_norm / (norm + 1e-6);
  if (factor < 1) {
    for (Parameter<T>* parameter : clipped) parameter->grad.scale(factor);
  }
  return norm;
}

}  // namespace lora::inline v0
