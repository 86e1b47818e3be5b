// SPDX-License-Identifier: MIT
#include <lora/detail/checked_size.hpp>

#include <cstdint>

#include "support/catch.hpp"

using lora::detail::CheckedSize;

namespace {

constexpr std::uint64_t kMost = ~std::uint64_t{0};

}  // namespace

TEST_CASE("a size that fits is computed as usual", "[checked]") {
  CHECK((CheckedSize(6) * 7 + 8).value() == 50);
  CHECK((CheckedSize(6) * 7 + 8).fits(50));
  CHECK_FALSE((CheckedSize(6) * 7 + 8).fits(49));
  CHECK(CheckedSize(kMost).fits());
  CHECK((CheckedSize(kMost) * 0).fits(0));
  CHECK((CheckedSize(kMost / 2) * 2 + 1).fits());
  CHECK(CheckedSize(0).rounded_up(32).value() == 0);
  CHECK(CheckedSize(33).rounded_up(32).value() == 64);
  CHECK(CheckedSize(kMost - 31).rounded_up(32).value() == kMost - 31);
}

TEST_CASE("a size that wraps fits nowhere, whatever follows", "[checked]") {
  CHECK_FALSE((CheckedSize(kMost) + 1).fits());
  CHECK_FALSE((CheckedSize(kMost / 2 + 1) * 2).fits());
  CHECK_FALSE((CheckedSize(std::uint64_t{1} << 32) * (std::uint64_t{1} << 32)).fits());
  CHECK_FALSE(CheckedSize(kMost - 30).rounded_up(32).fits());
  CHECK_FALSE(((CheckedSize(kMost) + 1) * 0).fits());
  CHECK_FALSE((CheckedSize(0) * (CheckedSize(kMost) + 1)).fits());
  CHECK_FALSE((CheckedSize(1) + CheckedSize::impossible()).fits());
}
