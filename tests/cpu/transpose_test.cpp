// SPDX-License-Identifier: MIT
#include <lora/cpu/transpose.hpp>

#include "support/tensors.hpp"

using namespace lora_test;

TEMPLATE_TEST_CASE("transpose puts every element in its place, and nothing elsewhere", "[simd]",
                   float, double) {
  constexpr index_t kRowsBetween = 41, kColsBetween = 43;
  for (const index_t rows : {0, 1, 2, 7, 8, 16, 23, 40}) {
    for (const index_t cols : {0, 1, 3, 8, 15, 16, 33, 40}) {
      INFO(rows << " rows, " << cols << " columns");
      const auto from = random_tensor<TestType>({40, kColsBetween}, 1);
      Tensor<TestType> to({41, kRowsBetween}), expected({41, kRowsBetween});
      for (index_t i = 0; i < rows; ++i) {
        for (index_t j = 0; j < cols; ++j) expected(j, i) = from(i, j);
      }
      lora::cpu::run_simd<lora::cpu::TransposeCore>(
          lora::MatrixView<const TestType>{from.data(), rows, cols, kColsBetween}, to.data(),
          std::int64_t{kRowsBetween});
      CHECK(same_bits(to, expected));
    }
  }
}
