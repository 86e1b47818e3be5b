// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <lora/lora.hpp>

// What the benchmarks compute on: a std::tuple of tensors for each op, made on the CPU.

namespace lora_bench {

using lora::index_t;
using lora::Tensor;

/// A parameter that Adam has trained for a while.
struct Trained {
  Tensor<float> value;
  lora::AdamState<float> state;

  Trained to(lora::Device device) const {
    return {value.to(device), {state.m.to(device), state.v.to(device)}};
  }
};

/// Calls draw(first) for the first few million elements, which the rest repeats, whole rows at a
/// time: what is computed from them takes as long as from others, and making them does not.
template <class T, class Draw>
Tensor<T> draw_and_repeat(lora::Shape shape, const Draw& draw) {
  constexpr index_t kDrawn = index_t{1} << 22;
  Tensor<T> x(shape);
  const index_t row = std::max<index_t>(1, shape.rank() == 2 ? shape[1] : 1);
  const index_t drawn = std::min(x.numel(), std::max<index_t>(1, kDrawn / row) * row);
  const std::span<T> values = x.span();
  const std::span<T> first = values.first(static_cast<std::size_t>(drawn));
  draw(first);
  for (std::size_t i = first.size(); i < values.size(); i += first.size()) {
    std::copy_n(first.begin(), std::min(first.size(), values.size() - i),
                values.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return x;
}

/// Normal numbers.
Tensor<float> random(lora::Shape shape, std::uint64_t seed);

Trained random_trained(lora::Shape shape, std::uint64_t seed);

/// Whole numbers in [0, limit).
template <class T>
Tensor<T> random_below(index_t limit, lora::Shape shape, std::uint64_t seed) {
  return draw_and_repeat<T>(shape, [&](std::span<T> values) {
    std::vector<double> drawn(values.size());
    lora::PhiloxGenerator(seed).uniform(drawn, 0, static_cast<double>(limit));
    std::transform(drawn.begin(), drawn.end(), values.begin(), [&](double x) {
      return static_cast<T>(std::min(static_cast<index_t>(x), limit - 1));
    });
  });
}

template <class T>
double byte_count(const Tensor<T>& x) {
  return static_cast<double>(x.numel()) * sizeof(T);
}
inline double byte_count(const Trained& p) { return 3 * byte_count(p.value); }

template <class... T>
double byte_count(const std::tuple<T...>& tensors) {
  return std::apply([](const T&... t) { return (byte_count(t) + ...); }, tensors);
}

template <class... T>
std::tuple<T...> copy_to(lora::Device device, const std::tuple<T...>& tensors) {
  return std::apply([&](const T&... t) { return std::tuple<T...>(t.to(device)...); }, tensors);
}

/// The empty string when `result`, wherever it is, agrees with `expected`, which is on the CPU:
/// whole numbers exactly, others within tolerance (|expected| + a tenth of the largest). Else
/// what does not agree.
template <class T>
std::string difference(const Tensor<T>& result, const Tensor<T>& expected,
                       double tolerance = 1e-4) {
  if (!(result.shape() == expected.shape())) return "another shape";
  const Tensor<T> copy = result.to(lora::Device::cpu);
  double largest = 0;
  for (index_t i = 0; i < copy.numel(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
  }
  if (!std::is_floating_point_v<T>) tolerance = 0;
  for (index_t i = 0; i < copy.numel(); ++i) {
    const auto ours = static_cast<double>(copy[i]);
    const auto theirs = static_cast<double>(expected[i]);
    if (!(std::fabs(ours - theirs) <= tolerance * (std::fabs(theirs) + 0.1 * largest))) {
      return "element " + std::to_string(i) + " of " + expected.shape().to_string() + " is " +
             std::to_string(ours) + ", the CPU has " + std::to_string(theirs);
    }
  }
  return {};
}

/// An update moves a parameter by a thousandth: a coarser look would not see it.
inline std::string difference(const Trained& result, const Trained& expected) {
  constexpr double kFine = 2e-6;
  std::string found = difference(result.value, expected.value, kFine);
  if (found.empty()) found = difference(result.state.m, expected.state.m);
  if (found.empty()) found = difference(result.state.v, expected.state.v);
  return found;
}

template <class... T>
std::string difference(const std::tuple<T...>& result, const std::tuple<T...>& expected) {
  std::string found;
  const auto compare = [&]<std::size_t... I>(std::index_sequence<I...>) {
    ((found = found.empty() ? difference(std::get<I>(result), std::get<I>(expected)) : found), ...);
  };
  compare(std::index_sequence_for<T...>());
  return found;
}

}  // namespace lora_bench
