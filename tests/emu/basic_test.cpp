// SPDX-License-Identifier: MIT
#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

#include "basic_kernels.hpp"
#include "device_buffer.hpp"
#include "support/catch.hpp"
#include "test_values.hpp"

using namespace lora_emu_test;
using lora::cuda::launch;

TEST_CASE("threads that never wait", "[emu]") {
  // A million, but for ThreadSanitizer, where every thread needs a fiber.
  const int n = lora_emu::sanitizer() == lora_emu::Sanitizer::kThread ? 50000 : 1000000;
  const std::vector<float> x = small_integers(static_cast<std::size_t>(n), 1);
  DeviceBuffer<float> in(x), out(x.size());
  const auto blocks = static_cast<unsigned>((n + 255) / 256);
  REQUIRE(launch(scale, {.grid = blocks, .block = 256}, in.get(), out.get(), n, 2.5f) ==
          cudaSuccess);
  const std::vector<float> y = out.values();
  bool same = true;
  for (std::size_t i = 0; i < x.size(); ++i) same &= y[i] == 2.5f * x[i];
  CHECK(same);
}

TEST_CASE("an empty grid is no launch", "[emu]") {
  CHECK(launch(scale, {.grid = 0, .block = 256}, nullptr, nullptr, 0, 1.0f) == cudaSuccess);
}

TEST_CASE("__syncthreads", "[emu]") {
  for_each_seed([] {
    std::vector<int> x(512);
    std::iota(x.begin(), x.end(), 0);
    DeviceBuffer<int> in(x);
    DeviceBuffer<int> out(x.size());
    REQUIRE(launch(reverse_in_block, {.grid = 2, .block = 256}, in.get(), out.get()) ==
            cudaSuccess);
    const std::vector<int> y = out.values();
    for (int i = 0; i < 512; ++i)
      CHECK(y[static_cast<std::size_t>(i)] == i / 256 * 256 + 255 - i % 256);
  });
}

TEST_CASE("__syncthreads_count, _and, _or", "[emu]") {
  for (const int set : {0, 17, 64}) {
    std::vector<int> x(64);
    std::fill(x.begin(), x.begin() + set, 3);
    DeviceBuffer<int> in(x);
    DeviceBuffer<int> out(64);
    REQUIRE(launch(votes, {.grid = 1, .block = 64}, in.get(), out.get()) == cudaSuccess);
    for (const int v : out.values()) CHECK(v == set * 4 + (set == 64) * 2 + (set > 0));
  }
}

TEST_CASE("shuffles", "[emu]") {
  for_each_seed([] {
    DeviceBuffer<int> out(200);
    REQUIRE(launch(shuffles, {.grid = 1, .block = 32}, out.get()) == cudaSuccess);
    const std::vector<int> y = out.values();
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const int l = static_cast<int>(lane);
      CHECK(y[lane] == 105);
      CHECK(y[32 + lane] == 100 + l / 8 * 8 + (l + 1) % 8);
      CHECK(y[64 + lane] == 100 + (l >= 3 ? l - 3 : l));
      CHECK(y[96 + lane] == 100 + (l % 16 + 3 < 16 ? l + 3 : l));
      CHECK(y[128 + lane] == 100 + (l ^ 17));
      CHECK(y[160 + lane] == 100 + (l % 8 < 4 ? l : l - 4));
      if (lane < 8) CHECK(y[192 + lane] == 107 - l);
    }
  });
}

TEST_CASE("votes and reductions of a warp", "[emu]") {
  DeviceBuffer<unsigned> out(192);
  REQUIRE(launch(ballots, {.grid = 1, .block = 32}, out.get()) == cudaSuccess);
  const std::vector<unsigned> y = out.values();
  for (std::size_t lane = 0; lane < 32; ++lane) {
    CHECK(y[lane] == 0x49249249u);
    CHECK(y[32 + lane] == 10);
    CHECK(y[64 + lane] == 496);
    CHECK(y[96 + lane] == 7);
    CHECK(y[128 + lane] == 38);
    CHECK((y[160 + lane] >> lane & 1) == 1);
  }
}

TEST_CASE("sums of rows by warps", "[emu]") {
  for_each_seed([] {
    constexpr int kColumns = 784;
    const std::vector<float> x = small_integers(16 * kColumns, 3);
    DeviceBuffer<float> in(x);
    DeviceBuffer<float> out(16);
    REQUIRE(launch(sum_rows, {.grid = 4, .block = dim3(32, 4)}, in.get(), out.get(), kColumns) ==
            cudaSuccess);
    const std::vector<float> y = out.values();
    for (std::size_t row = 0; row < 16; ++row) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(row) * kColumns;
      CHECK(y[row] == std::accumulate(begin, begin + kColumns, 0.0f));
    }
  });
}

TEST_CASE("a tiled matrix product", "[emu]") {
  for_each_seed([] {
    constexpr std::size_t kM = 128, kN = 64, kK = 96;
    const std::vector<float> a = small_integers(kM * kK, 5);
    const std::vector<float> b = small_integers(kN * kK, 6);
    DeviceBuffer<float> a_device(a), b_device(b), c_device(kM * kN);
    REQUIRE(launch(sgemm, {.grid = dim3(kN / kSgemmTile, kM / kSgemmTile), .block = kSgemmThreads},
                   a_device.get(), b_device.get(), c_device.get(), kM, kN, kK) == cudaSuccess);
    const std::vector<float> c = c_device.values();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < kM; ++i) {
      for (std::size_t j = 0; j < kN; ++j) {
        float sum = 0;
        for (std::size_t k = 0; k < kK; ++k) sum += a[i * kK + k] * b[j * kK + k];
        wrong += c[i * kN + j] != sum;
      }
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("dynamic shared memory of more than 48 KB", "[emu]") {
  constexpr int kCount = 20000;
  DeviceBuffer<float> out(kCount);
  REQUIRE(launch(dynamic_memory, {.grid = 1, .block = 128, .shared_bytes = kCount * sizeof(float)},
                 out.get(), kCount) == cudaSuccess);
  const std::vector<float> y = out.values();
  for (int i = 0; i < kCount; i += 97)
    CHECK(y[static_cast<std::size_t>(i)] == static_cast<float>(kCount - 1 - i));
  CHECK(launch(dynamic_memory, {.grid = 1, .block = 128, .shared_bytes = 228 * 1024}, out.get(),
               kCount) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
}

TEST_CASE("blocks that wait for one another become alive together", "[emu]") {
  for_each_seed([] {
    DeviceBuffer<std::uint32_t> flags(std::vector<std::uint32_t>(8, 0));
    DeviceBuffer<int> out(8);
    REQUIRE(launch(pass_on, {.grid = 8, .block = 32}, flags.get(), out.get()) == cudaSuccess);
    CHECK(out.values() == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8});
  });
}

TEST_CASE("atomics", "[emu]") {
  DeviceBuffer<int> counters(std::vector<int>(6, 0));
  REQUIRE(launch(count_with_atomics, {.grid = 3, .block = 100}, counters.get()) == cudaSuccess);
  CHECK(counters.values() == std::vector<int>{300, 99, -5, -600, 255, 900});
}

namespace {

template <class T>
T sum_by_atomics() {
  DeviceBuffer<T> sum(std::vector<T>(1, T{0}));
  REQUIRE(launch(add_to<T>, {.grid = 2, .block = 100}, sum.get()) == cudaSuccess);
  return sum.values()[0];
}

}  // namespace

TEST_CASE("atomicAdd of every type", "[emu]") {
  CHECK(sum_by_atomics<int>() == 9900);
  CHECK(sum_by_atomics<unsigned long long>() == 9900);
  CHECK(sum_by_atomics<float>() == 9900);
  CHECK(sum_by_atomics<double>() == 9900);
}

TEST_CASE("atomics that wrap, mask and exchange", "[emu]") {
  DeviceBuffer<unsigned> counters(std::vector<unsigned>{0, 0, ~0u, 0, 0});
  REQUIRE(launch(other_atomics, {.grid = 1, .block = 32}, counters.get()) == cudaSuccess);
  // 32 steps in a ring of 10.
  CHECK(counters.values() == std::vector<unsigned>{2, 8, 0, ~0u, 77});
}

TEST_CASE("every thread of every block runs once, and knows where it is", "[emu]") {
  const dim3 grid(3, 2, 2);
  const dim3 block(5, 4, 3);
  DeviceBuffer<uint3> out(2 * 12 * 60);
  REQUIRE(launch(write_indices, {.grid = grid, .block = block}, out.get()) == cudaSuccess);
  const std::vector<uint3> y = out.values();
  unsigned i = 0;
  for (unsigned b = 0; b < 12; ++b) {
    for (unsigned t = 0; t < 60; ++t, i += 2) {
      const uint3 in_grid = y[i];
      const uint3 in_block = y[i + 1];
      CHECK((in_grid.x == b % 3 && in_grid.y == b / 3 % 2 && in_grid.z == b / 6));
      CHECK((in_block.x == t % 5 && in_block.y == t / 5 % 4 && in_block.z == t / 20));
    }
  }
}

TEST_CASE("constant memory", "[emu]") {
  REQUIRE(set_constants({1, 2, 3, 4}) == cudaSuccess);
  DeviceBuffer<float> out(3);
  REQUIRE(launch(use_constants, {.grid = 1, .block = 3}, out.get()) == cudaSuccess);
  CHECK(out.values() == std::vector<float>(3, 1234.0f));
}

TEST_CASE("threads that wait for one another by atomics", "[emu]") {
  DeviceBuffer<unsigned> turn(std::vector<unsigned>(1, 0));
  DeviceBuffer<int> out(8);
  REQUIRE(launch(wait_politely, {.grid = 1, .block = 8}, turn.get(), out.get()) == cudaSuccess);
  CHECK(out.values() == std::vector<int>{8, 7, 6, 5, 4, 3, 2, 1});
}

TEST_CASE("speed of barriers", "[emu][.speed]") {
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(launch(barriers_only, {.grid = 1, .block = 256}, 10000) == cudaSuccess);
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  WARN(took.count() / 10000 / 256 << " ns for each thread at a barrier");
}
