// SPDX-License-Identifier: MIT
#include <lora/cpu/simd.hpp>

#include "support/catch.hpp"

using lora::cpu::choose_isa;
using lora::cpu::Isa;
using lora_test::contains;

TEST_CASE("LORA_ISA chooses among what the processor has", "[simd]") {
  CHECK(choose_isa(nullptr, Isa::avx512) == Isa::avx512);
  CHECK(choose_isa("", Isa::avx2) == Isa::avx2);
  CHECK(choose_isa("baseline", Isa::avx512) == Isa::baseline);
  CHECK(choose_isa("avx2", Isa::avx512) == Isa::avx2);
}

TEST_CASE("LORA_ISA is refused when unknown or not there", "[simd][errors]") {
  CHECK_THROWS_WITH(choose_isa("sse9", Isa::avx512), contains("expected baseline, avx2 or avx512"));
  CHECK_THROWS_WITH(choose_isa("avx512", Isa::avx2), contains("this processor has only avx2"));
}

TEST_CASE("the instruction set in use is one the processor has", "[simd]") {
  CHECK(lora::cpu::isa() <= lora::cpu::detect_isa());
}
