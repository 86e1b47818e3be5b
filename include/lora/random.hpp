// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

namespace lora::inline v0 {

/// Philox4x32-10: four 32-bit random numbers that depend on nothing but (counter, key), so any
/// element of a stream can be made on any device, by any thread, in any order.
/// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
constexpr std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                                     std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Where layers take their initial values from.
class Generator {
 public:
  virtual ~Generator() = default;

  /// Fills `values` with numbers uniform in [low, high).
  virtual void uniform(std::span<float> values, double low, double high) = 0;
  virtual void uniform(std::span<double> values, double low, double high) = 0;

  /// Fills `values` with normal numbers of the given mean and standard deviation.
  virtual void normal(std::span<float> values, double mean, double std) = 0;
  virtual void normal(std::span<double> values, double mean, double std) = 0;
};

/// Philox streams keyed by (seed, number of the call, index of the element).
class PhiloxGenerator final : public Generator {
 public:
  explicit PhiloxGenerator(std::uint64_t seed) : seed_(seed) {}

  void uniform(std::span<float> values, double low, double high) override {
    fill(values, [&](Words w) { return low + (high - low) * unit(w[0], w[1]); });
  }
  void uniform(std::span<double> values, double low, double high) override {
    fill(values, [&](Words w) { return low + (high - low) * unit(w[0], w[1]); });
  }
  void normal(std::span<float> values, double mean, double std) override {
    fill(values, [&](Words w) { return mean + std * box_muller(w); });
  }
  void normal(std::span<double> values, double mean, double std) override {
    fill(values, [&](Words w) { return mean + std * box_muller(w); });
  }

 private:
  using Words = std::array<std::uint32_t, 4>;

  template <class T, class Make>
  void fill(std::span<T> values, Make make) {
    const std::uint64_t stream = stream_++;
    const std::array<std::uint32_t, 2> key{low_word(seed_), high_word(seed_)};
    for (std::uint64_t i = 0; i < values.size(); ++i) {
      const Words counter{low_word(i), high_word(i), low_word(stream), high_word(stream)};
      values[i] = static_cast<T>(make(philox4x32_10(counter, key)));
    }
  }

  static std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static std::uint32_t high_word(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

  // The upper 53 bits as a number in [0, 1).
  static double unit(std::uint32_t high, std::uint32_t low) {
    return static_cast<double>((std::uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
  }

  static double box_muller(const Words& w) {
    const double radius = std::sqrt(-2.0 * std::log1p(-unit(w[0], w[1])));
    return radius * std::cos(2.0 * std::numbers::pi * unit(w[2], w[3]));
  }

  std::uint64_t seed_;
  std::uint64_t stream_ = 0;
};

}  // namespace lora::inline v0
