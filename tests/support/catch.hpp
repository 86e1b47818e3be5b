// SPDX-License-Identifier: MIT
#pragma once

#include <string>

// Catch2 version 2 (Debian 12) and version 3 have different headers and one set of macros.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>

namespace lora_test {

inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
inline Catch::Approx approx(double value) { return Catch::Approx(value); }

}  // namespace lora_test
#else
#include <catch2/catch.hpp>

namespace lora_test {

inline auto contains(const std::string& text) { return Catch::Matchers::Contains(text); }
inline Catch::Detail::Approx approx(double value) { return Catch::Detail::Approx(value); }

}  // namespace lora_test
#endif
