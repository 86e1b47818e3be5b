// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <lora/error.hpp>
#include <lora/linalg/qr.hpp>
#include <lora/linalg/randomized_svd.hpp>
#include <lora/linalg/svd.hpp>
#include <lora/linalg/truncated_svd.hpp>
#include <lora/nn/lora_config.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

// Initial values A₀ (R, I) and B₀ (O, R) of an adapter of rank R by decompositions of its weight
// W (O, I) or of W's gradient, as PEFT makes them:
//     lora::adapt(model, {.init_lora_weights = lora::pissa()});
//
// All but orthogonal() begin with B₀ A₀ far from 0. PEFT then takes s B₀ A₀ out of W; here W is not
// touched, and the layer runs W x + s (B A - B₀ A₀) x, with A₀ and B₀ kept as they are.
//
// Outside the umbrella, for what it adds to the time of compiling.

namespace lora::inline v0 {

/// Which of the 2r leading singular vectors of the gradient become A₀ (right ones) and B₀ (left
/// ones), counted from 0.
enum class LoRAGADirection {
  ArB2r,  ///< A₀ from the first r, B₀ from the r behind them
  A2rBr,  ///< B₀ from the first r, A₀ from the r behind them
  ArBr,   ///< alternating: B₀ from those of even, A₀ from those of odd number
};

/// How long they are made.
enum class LoRAGAScale {
  stable,  ///< times ⁴√O / √stable_gamma
  gd,      ///< both divided by s
  unit,    ///< as they are
};

/// PEFT (0.20) departs from the paper.
enum class LoRAGAForm {
  peft,  ///< B₀'s columns are multiplied by their singular values, and `stable` by its factor; A₀
         ///< has unit rows
  paper,  ///< no singular values, so the size of the gradient does not matter; `stable` multiplies
          ///< A₀ and B₀
};

/// PEFT's LoraGAConfig, with its defaults.
struct LoRAGAOptions {
  LoRAGADirection direction = LoRAGADirection::ArB2r;
  LoRAGAScale scale = LoRAGAScale::stable;
  double stable_gamma = 16;
  LoRAGAForm form = LoRAGAForm::peft;
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// Throws ShapeError, DeviceError or ValueError unless `weight` is a matrix on the CPU with
/// `vectors` r singular vectors.
template <class T>
void require_singular_vectors(const char* op, const char* name, const Tensor<T>& weight, index_t r,
                              index_t vectors) {
  const std::string what = std::string(op) + ": " + name + " is " + describe(weight);
  if (weight.shape().rank() != 2) throw ShapeError(what + ", expected a matrix");
  if (weight.device() != Device::cpu) throw DeviceError(what + ", expected on cpu");
  const index_t most = std::min(weight.dim(0), weight.dim(1)) / vectors;
  if (r >= 1 && r <= most) return;
  throw ValueError(what + ", the rank is " + std::to_string(r) + ": expected 1 to " +
                   std::to_string(most));
}

inline void require_positive_scale(const char* op, double scale) {
  if (scale > 0 && std::isfinite(scale)) return;
  throw ValueError(std::string(op) + ": the scale is " + std::to_string(scale) +
                   ", expected a positive number");
}

template <class T>
LoRAInitialValues<T> share_singular_values(const linalg::SVD<T>& svd, double scale) {
  Tensor<T> a = linalg::detail::transpose(svd.v);
  Tensor<T> b = svd.u;
  for (index_t j = 0; j < svd.s.numel(); ++j) {
    const T root = static_cast<T>(std::sqrt(static_cast<double>(svd.s[j]) / scale));
    for (index_t i = 0; i < a.dim(1); ++i) a(j, i) *= root;
    for (index_t i = 0; i < b.dim(0); ++i) b(i, j) *= root;
  }
  return {std::move(a), std::move(b)};
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0::init {

/// A₀ = (G E)ᵀ / 10, B₀ = Hᵀ F / 10 with the rows of E (r/2, r) of even, those of F of odd number
/// in a random orthogonal matrix, G (I, r/2) and H (r/2, O) normal: neither is 0, and B₀ A₀ is.
/// PEFT's "orthogonal"; a TorchGenerator gives its numbers. Throws ValueError unless r is even and
/// at least 2.
template <class T>
LoRAInitialValues<T> orthogonal(index_t in, index_t out, index_t r, Generator& generator) {
  if (r < 2 || r % 2 != 0) {
    throw ValueError("orthogonal: the rank is " + std::to_string(r) +
                     ", expected an even number of at least 2");
  }
  const auto normal = [&](Shape shape) {
    Tensor<T> x(shape);
    generator.normal(x.span(), 0.0, 1.0);
    return x;
  };
  const Tensor<T> square = normal({r, r}), g = normal({in, r / 2}), h = normal({r / 2, out});
  const Tensor<T> q = linalg::qr(square).q;
  LoRAInitialValues<T> values{Tensor<T>({r, in}), Tensor<T>({out, r})};
  const auto sum = [&](index_t c, index_t parity, auto&& factor) {
    double total = 0;
    for (index_t k = 0; k < r / 2; ++k) {
      total += static_cast<double>(factor(k)) * static_cast<double>(q(2 * k + parity, c));
    }
    return static_cast<T>(total / 10);
  };
  for (index_t c = 0; c < r; ++c) {
    for (index_t i = 0; i < in; ++i) values.a(c, i) = sum(c, 0, [&](index_t k) { return g(i, k); });
    for (index_t o = 0; o < out; ++o)
      values.b(o, c) = sum(c, 1, [&](index_t k) { return h(k, o); });
  }
  return values;
}

/// B₀ the first r columns of Q, A₀ the first r rows of R in W = Q R: Büyükakyüz 2024, "OLoRA"
/// (arXiv 2406.01775). As in PEFT, the scale does not enter. Throws ShapeError, DeviceError or
/// ValueError unless `weight` is a finite matrix on the CPU and 1 <= r <= min(O, I).
template <class T>
LoRAInitialValues<T> olora(const Tensor<T>& weight, index_t r) {
  detail::require_singular_vectors("olora", "the weight", weight, r, 1);
  linalg::QR<T> qr = linalg::qr(weight, r);
  return {std::move(qr.r), std::move(qr.q)};
}

/// A₀ = √(S/s) Vᵀ, B₀ = U √(S/s) with the r leading singular triplets of W, so that s B₀ A₀ is the
/// best approximation of W of rank r: Meng, Wang and Zhang 2024, "PiSSA" (arXiv 2404.02948). Throws
/// as olora does, and ValueError unless the scale s is positive.
template <class T>
LoRAInitialValues<T> pissa(const Tensor<T>& weight, index_t r, double scale) {
  detail::require_singular_vectors("pissa", "the weight", weight, r, 1);
  detail::require_positive_scale("pissa", scale);
  return detail::share_singular_values(linalg::truncated_svd(weight, r), scale);
}

/// PiSSA with approximate triplets, by `niter` power iterations of randomized_svd: PEFT's
/// "pissa_niter_[niter]". Throws as pissa does, and ValueError on a negative niter.
template <class T>
LoRAInitialValues<T> pissa_niter(const Tensor<T>& weight, index_t r, double scale, index_t niter,
                                 Generator& generator) {
  detail::require_singular_vectors("pissa_niter", "the weight", weight, r, 1);
  detail::require_positive_scale("pissa_niter", scale);
  return detail::share_singular_values(linalg::randomized_svd(weight, r, niter, generator), scale);
}

/// From the 2r leading singular vectors of the loss's gradient with respect to W, so that the first
/// steps of the adapter move W as full fine-tuning would: Wang, Yu and Li 2024, "LoRA-GA" (arXiv
/// 2407.05000). `gradient` is (O, I), of a few batches. Throws ShapeError, DeviceError or
/// ValueError unless it is a finite matrix on the CPU, 1 <= 2r <= min(O, I), and the scale s and
/// stable_gamma are positive.
template <class T>
LoRAInitialValues<T> lora_ga(const Tensor<T>& gradient, index_t r, double scale,
                             const LoRAGAOptions& options = {}) {
  constexpr const char* kOp = "lora_ga";
  detail::require_singular_vectors(kOp, "the gradient", gradient, r, 2);
  detail::require_positive_scale(kOp, scale);
  if (!(options.stable_gamma > 0)) {
    throw ValueError(std::string(kOp) + ": stable_gamma is " +
                     std::to_string(options.stable_gamma) + ", expected a positive number");
  }
  const linalg::SVD<T> svd = linalg::truncated_svd(gradient, 2 * r);
  const bool alternating = options.direction == LoRAGADirection::ArBr;
  const index_t step = alternating ? 2 : 1;
  const index_t first_b = options.direction == LoRAGADirection::ArB2r ? r : 0;
  const index_t first_a = alternating ? 1 : options.direction == LoRAGADirection::ArB2r ? 0 : r;
  LoRAInitialValues<T> values{
      linalg::detail::transpose(linalg::detail::columns(svd.v, first_a, step, r)),
      linalg::detail::columns(svd.u, first_b, step, r)};
  const bool peft = options.form == LoRAGAForm::peft;
  double factor_a = 1, factor_b = 1;
  if (options.scale == LoRAGAScale::stable) {
    factor_b =
        std::pow(static_cast<double>(gradient.dim(0)), 0.25) / std::sqrt(options.stable_gamma);
    if (!peft) factor_a = factor_b;
  } else if (options.scale == LoRAGAScale::gd) {
    factor_a = factor_b = 1 / scale;
  }
  for (T& value : values.a.span()) value = static_cast<T>(static_cast<double>(value) * factor_a);
  for (index_t j = 0; j < r; ++j) {
    const double factor =
        peft ? factor_b * static_cast<double>(svd.s[first_b + j * step]) : factor_b;
    for (index_t i = 0; i < values.b.dim(0); ++i) {
      values.b(i, j) = static_cast<T>(static_cast<double>(values.b(i, j)) * factor);
    }
  }
  return values;
}

}  // namespace lora::inline v0::init

namespace lora::inline v0 {

/// LoRAConfig::init_lora_weights = orthogonal(): PEFT's "orthogonal"; see init::orthogonal.
inline LoRAInit orthogonal() {
  LoRAInit init(LoRAInit::computed);
  init.compute = [](const LoRAInit&, const LoRAInitInput& input) {
    return init::orthogonal<double>(input.weight.dim(1), input.weight.dim(0), input.r,
                                    input.generator);
  };
  return init;
}

/// PEFT's "olora"; see init::olora.
inline LoRAInit olora() {
  LoRAInit init(LoRAInit::computed);
  init.product_is_zero = false;
  init.compute = [](const LoRAInit&, const LoRAInitInput& input) {
    return init::olora(input.weight, input.r);
  };
  return init;
}

/// PEFT's "pissa", or with `iterations` "pissa_niter_[iterations]"; see init::pissa and
/// init::pissa_niter.
inline LoRAInit pissa(int iterations = 0) {
  LoRAInit init(LoRAInit::computed);
  init.product_is_zero = false;
  init.iterations = iterations;
  init.compute = [](const LoRAInit& self, const LoRAInitInput& input) {
    return self.iterations == 0 ? init::pissa(input.weight, input.r, input.scale)
                                : init::pissa_niter(input.weight, input.r, input.scale,
                                                    self.iterations, input.generator);
  };
  return init;
}

/// PEFT's "lora_ga" with its defaults; see init::lora_ga. The layer's weight needs a gradient when
/// the adapter is made: call backward() on some batches before, without a step of the optimizer.
inline LoRAInit lora_ga() {
  LoRAInit init(LoRAInit::computed);
  init.product_is_zero = false;
  init.compute = [](const LoRAInit&, const LoRAInitInput& input) {
    if (input.gradient.empty()) {
      throw ValueError(
          "lora_ga: the weight has no gradient; call backward() on some batches first, without a "
          "step of the optimizer");
    }
    return init::lora_ga(input.gradient, input.r, input.scale);
  };
  return init;
}

}  // namespace lora::inline v0
