// SPDX-License-Identifier: MIT
#include <lora/detail/bit_patch.hpp>

#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;

namespace {

template <class T>
void check_round_trip(const std::vector<T>& from, const std::vector<T>& to) {
  lora::detail::BitPatch<T> patch;
  patch.append(from, to);
  std::vector<T> patched = from;
  patch.apply(patched);
  CHECK(std::memcmp(patched.data(), to.data(), to.size() * sizeof(T)) == 0);
}

template <class T>
void check_special_values() {
  using Limits = std::numeric_limits<T>;
  const std::vector<T> values = {0,
                                 -T(0),
                                 1,
                                 -1,
                                 Limits::denorm_min(),
                                 -Limits::denorm_min(),
                                 Limits::max(),
                                 Limits::lowest(),
                                 Limits::infinity(),
                                 -Limits::infinity(),
                                 Limits::quiet_NaN(),
                                 -Limits::quiet_NaN()};
  for (const T from : values) {
    check_round_trip(std::vector<T>(values.size(), from), values);
  }
}

}  // namespace

TEST_CASE("a patch turns any number into any other", "[detail][bit_patch]") {
  check_special_values<float>();
  check_special_values<double>();
}

TEST_CASE("a patch of equal arrays is empty", "[detail][bit_patch]") {
  const std::vector<float> values = {1, 2, -0.0f};
  lora::detail::BitPatch<float> patch;
  patch.append(values, values);
  CHECK(patch.bytes() == 0);
}

TEST_CASE("a patch is two bytes for a neighbour of a number", "[detail][bit_patch]") {
  std::vector<float> from(1000, 1.0f), to = from;
  for (std::size_t i = 0; i < 1000; i += 100) to[i] = std::nextafter(1.0f, 2.0f);
  lora::detail::BitPatch<float> patch;
  patch.append(from, to);
  CHECK(patch.bytes() == 20);
  patch.apply(from);
  CHECK(from == to);
}

TEST_CASE("arrays appended one by one are patched as one", "[detail][bit_patch]") {
  std::vector<float> from(10, 1.0f), to = from;
  to[3] = 2;
  to[7] = -5;
  lora::detail::BitPatch<float> patch;
  patch.append(std::span(from).first(5), std::span(to).first(5));
  patch.append(std::span(from).last(5), std::span(to).last(5));
  patch.apply(from);
  CHECK(from == to);
}
