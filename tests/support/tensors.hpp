// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include <lora/lora.hpp>

#include "support/catch.hpp"

namespace lora_test {

using lora::index_t;
using lora::Shape;
using lora::Tensor;

/// Normal random numbers; the seed is part of every failure message that prints INFO.
template <class T>
Tensor<T> random_tensor(Shape shape, std::uint64_t seed) {
  Tensor<T> x(shape);
  lora::PhiloxGenerator(seed).normal(x.span(), 0.0, 1.0);
  return x;
}

/// Small whole numbers: their float sums are exact, so any order of summation gives the same bits.
template <class T>
Tensor<T> random_integers(Shape shape, std::uint64_t seed, int largest = 3) {
  Tensor<T> x(shape);
  lora::PhiloxGenerator(seed).uniform(x.span(), -largest, largest + 1);
  for (T& value : x.span()) value = std::floor(value);
  return x;
}

template <class T>
bool same_bits(const Tensor<T>& x, const Tensor<T>& y) {
  return x.shape() == y.shape() &&
         (x.empty() ||
          std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.numel()) * sizeof(T)) == 0);
}

template <class To, class From>
Tensor<To> convert(const Tensor<From>& x) {
  Tensor<To> y(x.shape());
  for (index_t i = 0; i < x.numel(); ++i) y[i] = static_cast<To>(x[i]);
  return y;
}

/// The largest |x - y| / max(1, |y|); infinite where the shapes differ or a NaN appears.
template <class T, class U>
double max_error(const Tensor<T>& x, const Tensor<U>& y) {
  if (x.shape() != y.shape()) return INFINITY;
  double worst = 0;
  for (index_t i = 0; i < x.numel(); ++i) {
    const double expected = static_cast<double>(y[i]);
    const double error =
        std::fabs(static_cast<double>(x[i]) - expected) / std::fmax(1.0, std::fabs(expected));
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

/// Σ x_i c_i: turns any output into one number, so that its gradient with respect to x is c.
inline double dot(const Tensor<double>& x, const Tensor<double>& c) {
  double sum = 0;
  for (index_t i = 0; i < x.numel(); ++i) sum += x[i] * c[i];
  return sum;
}

/// Compares an analytic gradient with central differences of `f`, element by element, with
/// PyTorch's gradcheck tolerances: step 1e-6, atol 1e-5, rtol 1e-3.
template <class F>
void check_gradient(Tensor<double>& x, const Tensor<double>& gradient, const F& f) {
  REQUIRE(x.shape() == gradient.shape());
  constexpr double kStep = 1e-6;
  for (index_t i = 0; i < x.numel(); ++i) {
    const double kept = x[i];
    x[i] = kept + kStep;
    const double above = f();
    x[i] = kept - kStep;
    const double below = f();
    x[i] = kept;
    const double numeric = (above - below) / (2 * kStep);
    INFO("element " << i << " of " << x.shape().to_string());
    REQUIRE(std::fabs(gradient[i] - numeric) <= 1e-5 + 1e-3 * std::fabs(numeric));
  }
}

/// Restores the number of threads at the end of a test.
class ThreadCountGuard {
 public:
  ThreadCountGuard() : kept_(lora::get_num_threads()) {}
  ~ThreadCountGuard() { lora::set_num_threads(kept_); }

 private:
  int kept_;
};

}  // namespace lora_test
