// SPDX-License-Identifier: MIT
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <lora_emu/ptx.hpp>

#include "device_buffer.hpp"
#include "ptx_kernels.hpp"
#include "support/catch.hpp"
#include "test_values.hpp"

using namespace lora_emu_test;
using lora::cuda::launch;

namespace {

/// a (m, k) times b (k, n) plus c.
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b,
                           std::vector<float> c, std::size_t m, std::size_t n, std::size_t k) {
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t l = 0; l < k; ++l) c[i * n + j] += a[i * k + l] * b[l * n + j];
    }
  }
  return c;
}

std::vector<std::uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves;
  for (const float v : values) {
    halves.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16));
  }
  return halves;
}

}  // namespace

TEST_CASE("128-bit loads and stores with hints", "[emu][ptx]") {
  const std::vector<float> x = small_integers(128, 1);
  DeviceBuffer<float> in(x), out(128);
  REQUIRE(launch(loads_and_stores, {.grid = 1, .block = 32}, in.get(), out.get()) == cudaSuccess);
  const std::vector<float> y = out.values();
  for (std::size_t i = 0; i < 128; ++i) CHECK(y[i] == x[i] * (i % 4 == 3 ? 3.0f : 1.0f));
}

TEST_CASE("cp.async fills with zeros what the source does not have", "[emu][ptx]") {
  for (const int n : {1, 30, 31, 128}) {
    const std::vector<float> x = small_integers(static_cast<std::size_t>(n), 2);
    DeviceBuffer<float> in(x), out(256);
    REQUIRE(launch(copy_ragged, {.grid = 1, .block = 32}, in.get(), out.get(), n) == cudaSuccess);
    const std::vector<float> y = out.values();
    for (std::size_t i = 0; i < 128; ++i) {
      const float expected = i < x.size() ? x[i] : 0.0f;
      CHECK(y[i] == expected);
      CHECK(y[128 + i] == expected);
    }
  }
}

TEST_CASE("cp.async with two buffers", "[emu][ptx]") {
  for_each_seed([] {
    constexpr std::size_t kTiles = 5;
    const std::vector<float> x = small_integers(kTiles * kTileFloats, 3);
    DeviceBuffer<float> in(x), out(64);
    REQUIRE(launch(sum_of_tiles, {.grid = 1, .block = 64}, in.get(), out.get(), int{kTiles}) ==
            cudaSuccess);
    const std::vector<float> y = out.values();
    for (std::size_t t = 0; t < 64; ++t) {
      float sum = 0;
      for (std::size_t tile = 0; tile < kTiles; ++tile) {
        for (std::size_t i = 0; i < 4; ++i) {
          sum += x[tile * kTileFloats + (4 * t + 17 * i + 100) % kTileFloats];
        }
      }
      CHECK(y[t] == sum);
    }
  });
}

TEST_CASE("a producer and a consumer with named barriers", "[emu][ptx]") {
  for_each_seed([] {
    constexpr std::size_t kRounds = 6;
    const std::vector<float> x = small_integers(32 * kRounds, 4);
    DeviceBuffer<float> in(x), out(32);
    REQUIRE(launch(hand_over, {.grid = 1, .block = 64}, in.get(), out.get(), int{kRounds}) ==
            cudaSuccess);
    const std::vector<float> y = out.values();
    for (std::size_t lane = 0; lane < 32; ++lane) {
      float sum = 0;
      for (std::size_t round = 0; round < kRounds; ++round) sum += x[32 * round + 31 - lane];
      CHECK(y[lane] == sum);
    }
  });
}

TEST_CASE("bulk copies with full and empty mbarriers", "[emu][ptx]") {
  for_each_seed([] {
    constexpr std::size_t kTiles = 7;
    const std::vector<float> x = small_integers(kTiles * kTileFloats, 5);
    DeviceBuffer<float> in(x), out(64);
    REQUIRE(launch(bulk_pipeline,
                   {.grid = 1, .block = 96, .shared_bytes = 2 * kTileFloats * sizeof(float)},
                   in.get(), out.get(), int{kTiles}) == cudaSuccess);
    const std::vector<float> y = out.values();
    CHECK(std::accumulate(y.begin(), y.end(), 0.0f) == std::accumulate(x.begin(), x.end(), 0.0f));
  });
}

TEST_CASE("phases of an mbarrier", "[emu][ptx]") {
  for_each_seed([] {
    DeviceBuffer<int> out(48);
    REQUIRE(launch(arrive_in_turn, {.grid = 1, .block = 48}, out.get(), 5) == cudaSuccess);
    for (const int v : out.values()) CHECK(v == 0 + 2 + 4 + 6 + 8);
  });
}

TEST_CASE("to_tf32 rounds to 10 bits of fraction, halfway away from zero", "[emu][ptx]") {
  const auto rounded = [](float x) { return std::bit_cast<float>(lora::cuda::ptx::to_tf32(x)); };
  const float ulp = std::ldexp(1.0f, -10);
  CHECK(rounded(1.0f) == 1.0f);
  CHECK(rounded(1.0f + ulp / 2) == 1.0f + ulp);
  CHECK(rounded(-1.0f - ulp / 2) == -1.0f - ulp);
  CHECK(rounded(1.0f + 0.49f * ulp) == 1.0f);
  CHECK(rounded(2.0f - ulp / 8) == 2.0f);
  CHECK(rounded(INFINITY) == INFINITY);
  CHECK(std::isnan(rounded(NAN)));
}

TEST_CASE("mma m16n8k8 of tf32", "[emu][ptx]") {
  std::vector<float> a(16 * 8), b(8 * 8), c(16 * 8);
  // No two rows or columns are alike, so any permutation shows.
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i * i % 37) - 18;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i * i * i % 41) - 20;
  for (std::size_t i = 0; i < c.size(); ++i) c[i] = static_cast<float>(i);
  DeviceBuffer<float> a_device(a), b_device(b), c_device(c), d_device(16 * 8);
  REQUIRE(launch(multiply_tf32, {.grid = 1, .block = 32}, a_device.get(), b_device.get(),
                 c_device.get(), d_device.get()) == cudaSuccess);
  CHECK(d_device.values() == product(a, b, c, 16, 8, 8));
}

TEST_CASE("mma m16n8k16 of bf16, a through ldmatrix", "[emu][ptx]") {
  std::vector<float> a(16 * 16), b(16 * 8), b_transposed(8 * 16);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i * i % 37) - 18;
  for (std::size_t k = 0; k < 16; ++k) {
    for (std::size_t n = 0; n < 8; ++n) {
      b[k * 8 + n] = b_transposed[n * 16 + k] = static_cast<float>((k * 8 + n) * 7 % 41) - 20;
    }
  }
  DeviceBuffer<std::uint16_t> a_device(as_bf16(a)), b_device(as_bf16(b_transposed));
  DeviceBuffer<float> d_device(16 * 8);
  REQUIRE(launch(multiply_bf16, {.grid = 1, .block = 32}, a_device.get(), b_device.get(),
                 d_device.get()) == cudaSuccess);
  CHECK(d_device.values() == product(a, b, std::vector<float>(16 * 8, 0.0f), 16, 8, 16));
}

TEST_CASE("ldmatrix gives lane l the elements 2 (l % 4) and one more of row l / 4", "[emu][ptx]") {
  std::vector<std::uint16_t> x(256);
  std::iota(x.begin(), x.end(), std::uint16_t{0});
  DeviceBuffer<std::uint16_t> in(x), out(256);
  REQUIRE(launch(load_matrices, {.grid = 1, .block = 32}, in.get(), out.get()) == cudaSuccess);
  const std::vector<std::uint16_t> y = out.values();
  for (std::size_t lane = 0; lane < 32; ++lane) {
    for (std::size_t matrix = 0; matrix < 4; ++matrix) {
      for (std::size_t half = 0; half < 2; ++half) {
        CHECK(y[(lane * 4 + matrix) * 2 + half] ==
              matrix * 64 + lane / 4 * 8 + lane % 4 * 2 + half);
      }
    }
  }
}

TEST_CASE("the last block to come adds up, by a fence and an atomic", "[emu][ptx]") {
  for_each_seed([] {
    for (const int resident : {1, 4}) {
      lora_emu::set_resident_blocks(resident);
      const std::vector<float> x = small_integers(32 * 9, 6);
      DeviceBuffer<float> in(x), partials(9), out(1);
      DeviceBuffer<unsigned> counter(std::vector<unsigned>(1, 0));
      REQUIRE(launch(last_block_sums, {.grid = 9, .block = 32}, in.get(), partials.get(),
                     counter.get(), out.get()) == cudaSuccess);
      CHECK(out.values()[0] == std::accumulate(x.begin(), x.end(), 0.0f));
    }
    lora_emu::set_resident_blocks(1);
  });
}

TEST_CASE("a barrier of the whole grid", "[emu][ptx]") {
  for_each_seed([] {
    constexpr int kRounds = 5;
    DeviceBuffer<std::uint32_t> counter(std::vector<std::uint32_t>(1, 0));
    DeviceBuffer<int> out(2 * 6);
    REQUIRE(launch(grid_barriers, {.grid = 6, .block = 64}, counter.get(), out.get(), kRounds) ==
            cudaSuccess);
    const std::vector<int> y = out.values();
    for (std::size_t block = 0; block < 6; ++block) CHECK(y[block] == kRounds);
  });
}
