// SPDX-License-Identifier: MIT
#include <lora/cpu/stored_float.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "support/catch.hpp"

#include <lora/io/float_formats.hpp>
#include <lora/random.hpp>

namespace cpu = lora::cpu;

namespace {

// Decodes and encodes whole vectors one element after the start, so that nothing is aligned.
template <class Stored>
struct LoadCore {
  template <int Bytes, class C>
  static LORA_ALWAYS_INLINE void run(const std::byte* from, C* to, std::size_t count) {
    using S = cpu::Simd<C, Bytes>;
    for (std::size_t i = 0; i + S::kWidth <= count; i += S::kWidth) {
      typename S::Vector v;
      Stored::template load<S>(from + i * Stored::kBytes, v);
      *S::at(to + i) = v;
    }
  }
};

template <class Stored>
struct StoreCore {
  template <int Bytes, class C>
  static LORA_ALWAYS_INLINE void run(const C* from, std::byte* to, std::size_t count) {
    using S = cpu::Simd<C, Bytes>;
    for (std::size_t i = 0; i + S::kWidth <= count; i += S::kWidth) {
      const typename S::Vector v = *S::at(from + i);
      Stored::template store<S>(v, to + i * Stored::kBytes);
    }
  }
};

bool same(float x, float y) {
  return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) ||
         (std::isnan(x) && std::isnan(y));
}

}  // namespace

TEMPLATE_TEST_CASE("every 16-bit number is read as by the scalar functions", "[stored_float]",
                   cpu::StoredF16, cpu::StoredBf16) {
  constexpr std::size_t kCount = 1 << 16;
  std::vector<std::byte> file(2 * kCount + 1);
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    std::memcpy(file.data() + 1 + 2 * i, &bits, 2);
  }
  std::vector<float> read(kCount);
  cpu::run_simd<LoadCore<TestType>>(static_cast<const std::byte*>(file.data() + 1), read.data(),
                                    kCount);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    wrong += !same(read[i], TestType::read(file.data() + 1 + 2 * i));
  }
  CHECK(wrong == 0);

  // And, a NaN's bits aside, written as it was.
  std::vector<std::byte> written(2 * kCount + 1);
  cpu::run_simd<StoreCore<TestType>>(static_cast<const float*>(read.data()), written.data() + 1,
                                     kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const float again = TestType::read(written.data() + 1 + 2 * i);
    wrong += !same(again, read[i]);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("numbers of any size are rounded as by the scalar functions", "[stored_float]",
                   cpu::StoredF16, cpu::StoredBf16) {
  constexpr std::size_t kCount = 1 << 16;
  std::vector<double> random(2 * kCount);
  lora::PhiloxGenerator(7).uniform(std::span<double>(random), 0.0, 65536.0);
  std::vector<float> values(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    auto low = static_cast<std::uint32_t>(random[2 * i + 1]);
    // A third of them lie halfway between two numbers, or just beside.
    if (i % 3 == 0) low = 0x8000u + static_cast<std::uint32_t>(i % 9) / 3 - 1;
    if (i % 3 == 1) low = (low & 0xE000u) | (0x1000u + static_cast<std::uint32_t>(i % 9) / 3 - 1);
    values[i] =
        std::bit_cast<float>(static_cast<std::uint32_t>(random[2 * i]) << 16 | (low & 0xFFFFu));
  }
  std::vector<std::byte> written(2 * kCount);
  cpu::run_simd<StoreCore<TestType>>(static_cast<const float*>(values.data()), written.data(),
                                     kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const bool is_f16 = std::is_same_v<TestType, cpu::StoredF16>;
    const std::uint16_t bits =
        is_f16 ? lora::float_to_f16(values[i]) : lora::float_to_bf16(values[i]);
    std::uint16_t found;
    std::memcpy(&found, written.data() + 2 * i, 2);
    if (std::isnan(values[i]) && std::isnan(TestType::read(written.data() + 2 * i))) continue;
    INFO(values[i] << " is " << bits << ", found " << found);
    REQUIRE(found == bits);
  }
}

TEMPLATE_TEST_CASE("kOverflow is the smallest number that becomes infinite", "[stored_float]",
                   cpu::StoredF16, cpu::StoredBf16, cpu::StoredF32) {
  using C = typename TestType::Wide;
  std::vector<C> values(64, TestType::kOverflow);
  for (std::size_t i = 0; i < 64; i += 2) values[i] = std::nextafter(TestType::kOverflow, C{0});
  std::vector<std::byte> written(64 * TestType::kBytes);
  cpu::run_simd<StoreCore<TestType>>(static_cast<const C*>(values.data()), written.data(),
                                     std::size_t{64});
  for (std::size_t i = 0; i < 64; ++i) {
    CHECK(std::isfinite(TestType::read(written.data() + i * TestType::kBytes)) == (i % 2 == 0));
  }
}
