// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <benchmark/benchmark.h>

#include <lora/lora.hpp>

#if defined(LORA_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace lora_bench {

using lora::index_t;
using lora::Tensor;

/// How many threads a benchmark uses: LORA_BENCH_THREADS, or one.
inline int thread_count() {
  const char* value = std::getenv("LORA_BENCH_THREADS");
  return value ? std::max(1, std::atoi(value)) : 1;
}

/// To be called first in each benchmark.
inline void use_threads() {
  lora::set_num_threads(thread_count());
#if defined(LORA_BENCH_OPENBLAS)
  openblas_set_num_threads(thread_count());
#endif
}

inline Tensor<float> random(lora::Shape shape, std::uint64_t seed) {
  Tensor<float> x(shape);
  lora::PhiloxGenerator(seed).normal(x.span(), 0.0, 1.0);
  return x;
}

[[noreturn]] inline void wrong(const char* name) {
  std::fprintf(stderr, "%s: a wrong result is not worth timing\n", name);
  std::exit(1);
}

/// Compares sampled elements of y (rows x cols) with `expected(i, j)`, worked out in double, and
/// ends the program when one is wrong. `scale` is the size of the sum's terms times √terms.
template <class Expected>
void require_close(const char* name, const Tensor<float>& y, double scale,
                   const Expected& expected) {
  const index_t rows = y.dim(0);
  const index_t cols = y.dim(1);
  std::uint64_t state = 1;
  for (int sample = 0; sample < 200; ++sample) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const index_t i = sample == 0
                          ? rows - 1
                          : static_cast<index_t>((state >> 33) % static_cast<std::uint64_t>(rows));
    const index_t j = sample == 0
                          ? cols - 1
                          : static_cast<index_t>((state >> 13) % static_cast<std::uint64_t>(cols));
    const double error = std::fabs(static_cast<double>(y(i, j)) - expected(i, j));
    if (!(error <= 1e-5 * scale)) {
      std::fprintf(stderr, "%s: element (%lld, %lld) is %g, off by %g\n", name,
                   static_cast<long long>(i), static_cast<long long>(j),
                   static_cast<double>(y(i, j)), error);
      std::exit(1);
    }
  }
}

/// Reports multiply-adds as GFLOP/s and moved memory as GB/s.
inline void report(benchmark::State& state, double flops, double bytes) {
  const auto rate = [&](double x) {
    return benchmark::Counter(x * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["GFLOP/s"] = rate(flops);
  state.counters["GB/s"] = rate(bytes);
}

/// The linear layers of the study at its batch size: {B, O, I}.
inline void thin_layer_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I"});
  b->Args({10, 1000, 784})->Args({10, 1500, 1000})->Args({10, 1300, 1500})->Args({10, 10, 1300});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

/// The same, then square ones.
inline void layer_shapes(benchmark::internal::Benchmark* b) {
  thin_layer_shapes(b);
  for (const int size : {512, 1024, 2048, 4096}) b->Args({size, size, size});
}

/// The study's layers with rank 1, then larger ones: {B, O, I, R}.
inline void lora_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I", "R"});
  b->Args({10, 1000, 784, 1})->Args({10, 1500, 1000, 1})->Args({10, 1300, 1500, 1});
  b->Args({10, 10, 1300, 1})->Args({10, 1300, 1500, 16})->Args({1024, 1024, 1024, 16});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

/// The study's logits and hidden layer, then a large vocabulary: {B, C}.
inline void row_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "C"});
  b->Args({10, 10})->Args({10, 1300})->Args({64, 32000});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

}  // namespace lora_bench
