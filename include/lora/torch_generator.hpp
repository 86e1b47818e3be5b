// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <lora/random.hpp>
#include <lora/shape.hpp>

namespace lora::inline v0 {

/// The numbers of PyTorch's CPU generator after `torch.manual_seed(seed)`.
///
/// Uniform floats, `randperm` and the order of a shuffling DataLoader are PyTorch's bit for bit
/// (its builds for AVX2); normal floats agree to 3e-7, because PyTorch takes vector versions of
/// log, sin and cos. The state after every call is PyTorch's, so sequences of calls stay in step.
class TorchGenerator final : public Generator {
 public:
  explicit TorchGenerator(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

  /// As `torch.nn.init.uniform_`: 24 random bits a float, 53 a double.
  void uniform(std::span<float> values, double low, double high) override {
    const auto from = static_cast<float>(low);
    const float range = static_cast<float>(high) - from;
    // One rounding, as in PyTorch's vectorised kernel.
    for (float& value : values) value = std::fma(unit24(), range, from);
  }
  void uniform(std::span<double> values, double low, double high) override {
    for (double& value : values) value = unit53() * (high - low) + low;
  }

  /// As `torch.nn.init.normal_`.
  void normal(std::span<float> values, double mean, double std) override {
    if (values.size() < 16) return normal_by_pairs(values, mean, std);
    for (float& value : values) value = unit24();
    std::size_t i = 0;
    for (; i + 16 <= values.size(); i += 16) box_muller_16(values.subspan(i, 16), mean, std);
    if (i == values.size()) return;
    // PyTorch draws the last sixteen anew when the count is no multiple of sixteen.
    const std::span<float> tail = values.last(16);
    for (float& value : tail) value = unit24();
    box_muller_16(tail, mean, std);
  }
  void normal(std::span<double> values, double mean, double std) override {
    std::vector<float> single(values.size());
    normal(std::span<float>(single), mean, std);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = double{single[i]};
  }

  /// As `torch.randperm(n)`.
  std::vector<index_t> randperm(index_t n) {
    std::vector<index_t> order(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<index_t>(i);
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
      std::swap(order[i], order[i + engine_() % (order.size() - i)]);
    }
    return order;
  }

  /// The order in which one pass over `DataLoader(shuffle=True)` visits n samples: the loader draws
  /// a seed for its workers, then the sampler draws the seed of its own generator.
  std::vector<index_t> data_loader_order(index_t n) {
    random63();
    return TorchGenerator(random63()).randperm(n);
  }

 private:
  float unit24() { return static_cast<float>(engine_() & 0xFFFFFF) * 0x1p-24f; }

  std::uint64_t random64() {
    const std::uint64_t high = engine_();
    return high << 32 | engine_();
  }
  std::uint64_t random63() { return random64() & std::numeric_limits<std::int64_t>::max(); }
  double unit53() { return static_cast<double>(random64() & ((1ULL << 53) - 1)) * 0x1p-53; }

  static void box_muller_16(std::span<float> u, double mean, double std) {
    for (std::size_t j = 0; j < 8; ++j) {
      const float radius = std::sqrt(-2.0f * std::log(1.0f - u[j]));
      const float angle = 2.0f * std::numbers::pi_v<float> * u[j + 8];
      u[j] = static_cast<float>(double{radius * std::cos(angle)} * std + mean);
      u[j + 8] = static_cast<float>(double{radius * std::sin(angle)} * std + mean);
    }
  }

  // PyTorch's path for fewer than sixteen values: double Box-Muller, both values of a pair used.
  void normal_by_pairs(std::span<float> values, double mean, double std) {
    for (float& value : values) {
      double z;
      if (spare_) {
        z = std::exchange(spare_, std::nullopt).value();
      } else {
        const double u1 = unit53();
        const double u2 = unit53();
        const double radius = std::sqrt(-2.0 * std::log1p(-u2));
        const double angle = 2.0 * std::numbers::pi * u1;
        spare_ = radius * std::sin(angle);
        z = radius * std::cos(angle);
      }
      value = static_cast<float>(z * std + mean);
    }
  }

  std::mt19937 engine_;
  std::optional<double> spare_;
};

}  // namespace lora::inline v0
