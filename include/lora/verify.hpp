// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/checkpoint.hpp>
#include <lora/nn/adapt.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/merge.hpp>
#include <lora/nn/module.hpp>
#include <lora/optim/sgd.hpp>
#include <lora/random.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

struct VerifyOptions {
  /// The largest ‖merged - apart‖ / ‖apart‖ of the outputs.
  double merge_tolerance = 1e-4;
  /// The largest relative difference of a gradient and its finite difference, along the gradient.
  double gradient_tolerance = 2e-2;
  /// Where each adapter is saved for a moment; empty: $TMPDIR or /tmp.
  std::string folder = {};
  std::uint64_t seed = 0;
};

struct VerifyCheck {
  std::string name;
  bool passed = false;
  std::string detail;
};

struct VerifyReport {
  std::vector<VerifyCheck> checks;

  bool passed() const {
    return std::all_of(checks.begin(), checks.end(), [](const auto& c) { return c.passed; });
  }
};

/// A line a check: "ok    unmerging brings back every bit of the weights".
inline std::string to_string(const VerifyReport& report) {
  std::string text;
  for (const VerifyCheck& check : report.checks) {
    text += (check.passed ? "ok    " : "FAIL  ") + check.name;
    text += (check.detail.empty() ? "" : ": " + check.detail) + "\n";
  }
  return text;
}

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

template <class T>
bool same_bits(const Tensor<T>& x, const Tensor<T>& y) {
  const Tensor<T> a = x.to(Device::cpu), b = y.to(Device::cpu);
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.span().size_bytes()) == 0;
}

/// What verify() asks of a model, one question a function.
template <class T>
class Verifier {
 public:
  Verifier(Module<T>& module, const Tensor<T>& x, const VerifyOptions& options)
      : module_(module), x_(x), options_(options), was_training_(module.training()) {
    for (const auto& named : module.named_parameters()) {
      kept_.push_back(
          {named.name, named.parameter, named.parameter->value, named.parameter->trainable});
    }
    module.eval();
  }
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;
  /// The model is as it was, also after a failed check.
  ~Verifier() {
    restore();
    module_.train(was_training_);
  }

  VerifyReport run() {
    ask("a disabled layer is its base, bit for bit", [&] { return disabled_is_base(); });
    ask("merged, the model gives the same output", [&] { return merged_is_same(); });
    ask("unmerging brings back every bit of the weights", [&] { return unmerge_is_exact(); });
    ask("training changes no frozen parameter", [&] { return frozen_stay(); });
    ask("gradients are those of finite differences", [&] { return gradients_match(); });
    ask("a saved adapter gives the same output when loaded", [&] { return loads_as_saved(); });
    return std::move(report_);
  }

 private:
  struct Kept {
    std::string name;
    Parameter<T>* parameter;
    Tensor<T> value;
    bool trainable;
  };

  // An answer is empty when all is well.
  void ask(const char* question, const std::function<std::string()>& answer) {
    VerifyCheck check{question, false, {}};
    try {
      check.detail = answer();
      check.passed = check.detail.empty() || check.detail.front() == '(';
    } catch (const Error& error) {
      check.detail = error.what();
    }
    restore();
    report_.checks.push_back(std::move(check));
  }

  void restore() {
    unmerge(module_);
    for (Kept& kept : kept_) {
      kept.parameter->value = kept.value;
      kept.parameter->trainable = kept.trainable;
      kept.parameter->grad = {};
    }
  }

  Tensor<T> output() const { return module_.forward(x_).to(Device::cpu); }

  static std::string number(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
  }

  static double distance(const Tensor<T>& x, const Tensor<T>& y) {
    double difference = 0, size = 0;
    for (index_t i = 0; i < x.numel(); ++i) {
      const double a = double{x.data()[i]}, b = double{y.data()[i]};
      difference += (a - b) * (a - b);
      size += b * b;
    }
    return std::sqrt(difference / std::max(size, 1e-300));
  }

  std::string disabled_is_base() {
    PhiloxGenerator generator(options_.seed);
    const ScopedDisable<T> off(module_);
    for (const auto& [path, layer] : layers_of<LoRALinear<T>>(module_)) {
      Tensor<T> x({3, layer->base().in_features()});
      generator.normal(x.span(), 0.0, 1.0);
      x = x.to(x_.device());
      if (!same_bits(layer->forward(x), layer->base().forward(x))) return path + " is not";
    }
    return "";
  }

  std::string merged_is_same() {
    const Tensor<T> apart = output();
    merge(module_, {.max_relative_error = HUGE_VAL});
    const double difference = distance(output(), apart);
    if (difference <= options_.merge_tolerance) return "";
    return "the outputs differ by " + number("%.2e", difference) + ", accepted is " +
           number("%.2e", options_.merge_tolerance);
  }

  std::string unmerge_is_exact() {
    const Tensor<T> before = output();
    merge(module_, {.max_relative_error = HUGE_VAL});
    unmerge(module_);
    for (const Kept& kept : kept_) {
      if (!same_bits(kept.parameter->value, kept.value)) return kept.name + " has changed";
    }
    return same_bits(output(), before) ? "" : "the output has changed";
  }

  std::string frozen_stay() {
    SGD<T> sgd(module_.parameters(), {.lr = 0.1});
    Saved<T> saved;
    Tensor<T> dy;
    dy = direction(module_.forward(x_, saved));
    sgd.backward_and_step(module_, dy, saved);
    for (const Kept& kept : kept_) {
      if (!kept.trainable && !same_bits(kept.parameter->value, kept.value)) {
        return kept.name + " has changed";
      }
    }
    return "";
  }

  // The gradient of loss(): random numbers of the shape of `y`.
  Tensor<T> direction(const Tensor<T>& y) const {
    Tensor<T> c(y.shape());
    PhiloxGenerator(options_.seed + 1).normal(c.span(), 0.0, 1.0);
    return c.to(y.device());
  }

  double loss(const Tensor<T>& c) const {
    const Tensor<T> y = output();
    double sum = 0;
    for (index_t i = 0; i < y.numel(); ++i) sum += double{y.data()[i]} * double{c.data()[i]};
    return sum;
  }

  std::string gradients_match() {
    Saved<T> saved;
    const Tensor<T> dy = direction(module_.forward(x_, saved));
    module_.backward(dy, saved);
    const Tensor<T> c = dy.to(Device::cpu);
    // DoRA's gradient holds the norms constant, as the paper does, so it is not the derivative.
    std::vector<const Parameter<T>*> approximate;
    for (const auto& [path, layer] : lora_layers(module_)) {
      for (const std::string& name : layer->adapter_names()) {
        for (LoRAAdapter<T>* part : layer->parts_of_adapter(name)) {
          if (!part->uses_dora()) continue;
          approximate.insert(approximate.end(), {&part->lora_A, &part->lora_B});
        }
      }
    }
    int checked = 0;
    for (const Kept& kept : kept_) {
      Parameter<T>& parameter = *kept.parameter;
      if (!kept.trainable || parameter.grad.empty()) continue;
      if (std::count(approximate.begin(), approximate.end(), &parameter) > 0) continue;
      const std::string fault = compare_along_gradient(kept, parameter.grad.dense(), c);
      if (!fault.empty()) return fault;
      ++checked;
    }
    return checked > 0 ? "" : "(no parameter has a gradient that can be compared)";
  }

  // The derivative along the gradient is its length. The step changes the loss by what is large
  // against rounding and small against the loss.
  std::string compare_along_gradient(const Kept& kept, const Tensor<T>& gradient,
                                     const Tensor<T>& c) {
    const Tensor<T> g = gradient.to(Device::cpu);
    double square = 0;
    for (const T element : g.span()) square += double{element} * double{element};
    if (!std::isfinite(square)) return "the gradient of " + kept.name + " is not finite";
    if (square == 0) return "";
    const double length = std::sqrt(square);
    const double step = (sizeof(T) == 4 ? 3e-3 : 1e-6) * std::max(std::abs(loss(c)), 1.0) / length;
    const auto loss_at = [&](double offset) {
      Tensor<T> moved = kept.value.to(Device::cpu);
      for (index_t i = 0; i < moved.numel(); ++i) {
        moved.data()[i] += static_cast<T>(offset * double{g.data()[i]} / length);
      }
      kept.parameter->value = moved.to(kept.value.device());
      return loss(c);
    };
    const double difference = (loss_at(step) - loss_at(-step)) / (2 * step);
    kept.parameter->value = kept.value;
    const double error = std::abs(difference - length) / length;
    if (error <= options_.gradient_tolerance) return "";
    return kept.name + ": the gradient's length is " + number("%.6g", length) +
           ", the finite difference " + number("%.6g", difference);
  }

  std::string loads_as_saved() {
    std::string folder = options_.folder;
    const char* const temporary = std::getenv("TMPDIR");
    if (folder.empty()) folder = temporary && *temporary ? temporary : "/tmp";
    const std::string path = folder + "/lora-verify-" + std::to_string(::getpid()) + ".safetensors";
    const Tensor<T> before = output();
    for (const std::string& name : adapter_names(module_)) {
      save_adapter(module_, path, name);
      const struct Removed {
        const std::string& path;
        ~Removed() { std::remove(path.c_str()); }
      } removed{path};
      for (const auto& named : adapter_parameters(module_, name)) {
        ops::fill(named.parameter->value, 0.0);
      }
      load_adapter(module_, path, name);
      if (!same_bits(output(), before)) return "\"" + name + "\" does not";
    }
    return "";
  }

  Module<T>& module_;
  const Tensor<T>& x_;
  const VerifyOptions& options_;
  bool was_training_;
  std::vector<Kept> kept_;
  VerifyReport report_;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Puts a model with adapters through what must hold of it: disabled against the base, merged
/// against apart, frozen parameters, gradients against finite differences, saving and loading. `x`
/// is an input of the model, (B, …), on its device. The model is the same afterwards, to the bit,
/// but its gradients are cleared. Throws ValueError when the model has no adapter, or one is
/// merged.
template <class T>
VerifyReport verify(Module<T>& module, const Tensor<T>& x, const VerifyOptions& options = {}) {
  if (adapter_names(module).empty()) throw ValueError("verify: the model has no adapter");
  detail::require_unmerged(module, "verify");
  return detail::Verifier<T>(module, x, options).run();
}

}  // namespace lora::inline v0
