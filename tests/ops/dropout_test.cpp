// SPDX-License-Identifier: MIT
#include <lora/ops/dropout.hpp>

#include <cmath>
#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::DropoutKey;
namespace ops = lora::ops;

namespace {

constexpr DropoutKey kKey{0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x0F1E2D3C4B5A6978};

/// Word i of the key's sequence, as ops/dropout.hpp defines it.
std::uint32_t word(const DropoutKey& key, std::uint64_t i) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const auto derived = lora::philox4x32_10({low(key.stream), high(key.stream), ~0u, ~0u},
                                           {low(key.seed), high(key.seed)});
  return lora::philox4x32_10({low(i / 4), high(i / 4), low(key.offset), high(key.offset)},
                             {derived[0], derived[1]})[i % 4];
}

Tensor<float> ones(index_t size) {
  Tensor<float> x({size});
  ops::fill(x, 1.0);
  return x;
}

}  // namespace

TEST_CASE("dropout's known masks", "[dropout]") {
  // From an implementation in Python.
  Tensor<float> y;
  ops::dropout(ones(20), y, 0.5, kKey);
  CHECK(same_bits(
      y, Tensor<float>({20}, {2, 2, 2, 0, 2, 0, 2, 0, 2, 2, 0, 0, 2, 2, 2, 2, 0, 2, 0, 0})));
  ops::dropout(ones(20), y, 0.25, {1, 2, 3});
  for (float& element : y.span()) element = element == 0 ? 0.0f : 1.0f;
  CHECK(same_bits(
      y, Tensor<float>({20}, {1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1})));
}

TEST_CASE("dropout is what its definition says, on any number of threads", "[dropout]") {
  const ThreadCountGuard guard;
  for (const index_t size : {0, 1, 3, 4, 5, 255, 256, 257, 784, 1000, 4096, 7840, 13001}) {
    for (const double p : {0.0, 0.1, 0.5, 0.999}) {
      for (const int threads : {1, 3}) {
        INFO("size " << size << ", p " << p << ", " << threads << " threads");
        lora::set_num_threads(threads);
        const auto x = random_tensor<float>({size}, 1);
        Tensor<float> y, expected({size});
        for (index_t i = 0; i < size; ++i) {
          const bool kept = word(kKey, static_cast<std::uint64_t>(i)) * 0x1p-32 >= p;
          expected[i] = kept ? static_cast<float>(1 / (1 - p)) * x[i] : 0.0f;
        }
        ops::dropout(x, y, p, kKey);
        CHECK(same_bits(y, expected));
      }
    }
  }
}

TEST_CASE("dropout keeps the share 1 - p, and with it the mean", "[dropout]") {
  for (const double p : {0.05, 0.3, 0.9}) {
    Tensor<float> y;
    ops::dropout(ones(100000), y, p, {7, 0, 0});
    double kept = 0, sum = 0;
    for (const float element : y.span()) {
      kept += element != 0;
      sum += double{element};
    }
    const double deviation = std::sqrt(p * (1 - p) / 1e5);
    CHECK(std::fabs(kept / 1e5 - (1 - p)) < 5 * deviation);
    CHECK(std::fabs(sum / 1e5 - 1) < 5 * deviation / (1 - p));
  }
}

TEST_CASE("masks of other seeds, streams and offsets are other masks", "[dropout]") {
  const std::uint64_t high = std::uint64_t{1} << 32;
  Tensor<float> y, other;
  ops::dropout(ones(1000), y, 0.5, {1, 1, 1});
  for (const DropoutKey key :
       {DropoutKey{2, 1, 1}, DropoutKey{1 + high, 1, 1}, DropoutKey{1, 2, 1},
        DropoutKey{1, 1 + high, 1}, DropoutKey{1, 1, 2}, DropoutKey{1, 1, 1 + high}}) {
    INFO("seed " << key.seed << ", stream " << key.stream << ", offset " << key.offset);
    ops::dropout(ones(1000), other, 0.5, key);
    index_t equal = 0;
    for (index_t i = 0; i < 1000; ++i) equal += y[i] == other[i];
    CHECK(std::abs(static_cast<double>(equal) - 500) < 80);  // 5 standard deviations
  }
}

TEST_CASE("a key's step is added to its offset", "[dropout]") {
  const std::int64_t step = 5;
  Tensor<float> y, expected;
  ops::dropout(ones(100), y, 0.5, {1, 2, 3, &step});
  ops::dropout(ones(100), expected, 0.5, {1, 2, 8});
  CHECK(same_bits(y, expected));
}

TEST_CASE("dropout works in place, and what it drops is 0 even if it was a NaN", "[dropout]") {
  auto x = random_tensor<float>({10, 77}, 2);
  Tensor<float> y;
  ops::dropout(x, y, 0.4, kKey);
  ops::dropout(x, x, 0.4, kKey);
  CHECK(same_bits(x, y));
  ops::fill(x, std::numeric_limits<double>::quiet_NaN());
  ops::dropout(x, x, 0.4, kKey);
  for (index_t i = 0; i < x.numel(); ++i) REQUIRE(std::isnan(x[i]) == (y[i] != 0));
}

TEST_CASE("dropout_add adds what dropout gives, then applies the ReLU's mask", "[dropout]") {
  for (const index_t size : {0, 1, 10, 257, 9001}) {
    INFO("size " << size);
    const auto x = random_tensor<double>({size}, 3), y = random_tensor<double>({size}, 4);
    const auto relu_output = random_integers<double>({size}, 5, 1);
    Tensor<double> dropped, sum = y, masked = y;
    ops::dropout(x, dropped, 0.3, kKey);
    ops::dropout_add(x, sum, 0.3, kKey);
    ops::dropout_add(x, masked, 0.3, kKey, &relu_output);
    for (index_t i = 0; i < size; ++i) {
      REQUIRE(sum[i] == y[i] + dropped[i]);
      REQUIRE(masked[i] == (relu_output[i] > 0 ? sum[i] : 0));
    }
  }
}

TEST_CASE("dropout's gradient is the same call", "[dropout][gradient]") {
  auto x = random_tensor<double>({3, 7}, 6);
  const auto dy = random_tensor<double>({3, 7}, 7);
  Tensor<double> dx;
  ops::dropout(dy, dx, 0.4, kKey);
  check_gradient(x, dx, [&] {
    Tensor<double> y;
    ops::dropout(x, y, 0.4, kKey);
    return dot(y, dy);
  });
}

TEST_CASE("dropout next to p = 1 keeps next to nothing", "[dropout]") {
  Tensor<float> y;
  ops::dropout(ones(10000), y, 1 - 0x1p-53, kKey);
  for (const float element : y.span()) REQUIRE(element == 0);
}

TEST_CASE("dropout refuses a share below 0 or not below 1, and other shapes", "[dropout][errors]") {
  const Tensor<float> x({2, 3});
  Tensor<float> y;
  CHECK_THROWS_WITH(ops::dropout(x, y, 1.0, kKey), "dropout: p is 1.000000, expected 0 <= p < 1");
  CHECK_THROWS_AS(ops::dropout(x, y, -0.1, kKey), lora::ValueError);
  CHECK_THROWS_AS(ops::dropout(x, y, std::nan(""), kKey), lora::ValueError);
  y = Tensor<float>({3, 2});
  CHECK_THROWS_WITH(ops::dropout_add(x, y, 2.0, kKey), contains("dropout_add: p is 2"));
  CHECK_THROWS_WITH(ops::dropout_add(x, y, 0.5, kKey), contains("dropout_add: x is (2, 3)"));
  y = x;
  const Tensor<float> relu_output({6});
  CHECK_THROWS_WITH(ops::dropout_add(x, y, 0.5, kKey, &relu_output),
                    contains("relu_output is (6,)"));
}
