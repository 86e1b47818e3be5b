// SPDX-License-Identifier: MIT
#include "gpu/support.hpp"

#include <algorithm>
#include <cmath>
#include <exception>

#include "gpu/ceilings.hpp"

namespace lora_bench {

namespace {

int failures = 0;

}  // namespace

benchmark::internal::Benchmark* add(const char* name, void (*run)(benchmark::State&)) {
  const auto guarded = [run](benchmark::State& state) {
    try {
      run(state);
    } catch (const std::exception& error) {
      ++failures;
      state.SkipWithError(error.what());
    }
  };
  // The one iteration reports the median of many samples.
  return benchmark::RegisterBenchmark(name, guarded)
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

int failed_count() { return failures; }

void report(benchmark::State& state, const Timing& timing, const Cost& cost) {
  for (auto _ : state) state.SetIterationTime(timing.median);
  state.counters["fastest_us"] = timing.fastest * 1e6;
  state.counters["samples"] = timing.samples;
  state.counters["launches"] = timing.launches;
  if (cost.bytes > 0) {
    state.counters["GB/s"] = cost.bytes / timing.median * 1e-9;
    state.counters["% of copy"] = 100 * cost.bytes / timing.median / ceilings().copy.rate();
  }
  if (cost.flops > 0) state.counters["GFLOP/s"] = cost.flops / timing.median * 1e-9;
  if (cost.is_product && ceilings().matrix.rate() > 0) {
    state.counters["% of matrix ceiling"] =
        100 * cost.flops / timing.median / ceilings().matrix.rate();
  }
}

void report_peer(benchmark::State& state, const Timing& ours, const Timing& peer, double flops) {
  state.counters["cublas_us"] = peer.median * 1e6;
  state.counters["cublas GFLOP/s"] = flops / peer.median * 1e-9;
  state.counters["speed of cublas"] = peer.median / ours.median;
}

int copies_beyond_l2(double bytes) {
  constexpr int kMost = 256;
  return std::clamp(static_cast<int>(std::ceil(3 * l2_bytes() / bytes)) + 1, 2, kMost);
}

void study_layers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "O", "I", "cold"});
  for (const int cold : {1, 0}) {
    b->Args({10, 1000, 784, cold})->Args({10, 1500, 1000, cold})->Args({10, 1300, 1500, cold});
  }
  b->Args({10, 10, 1300, 0});
}

}  // namespace lora_bench
