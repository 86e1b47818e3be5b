// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

namespace lora::inline v0::cpu {

template <class T>
void copy_columns(MatrixView<const T> x, MatrixView<T> y) {
  constexpr std::int64_t kGrain = 64;  // rows
  lora::detail::parallel_for(x.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) std::copy_n(x.row(i), x.cols, y.row(i));
  });
}

}  // namespace lora::inline v0::cpu
