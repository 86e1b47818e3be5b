// SPDX-License-Identifier: MIT
// Times the kernels on a GPU:  lora_gpu_bench [options of Google Benchmark]
// Each case is compared with the CPU's op before it is timed, by CUDA's events. The time of a row
// is the median of the samples; GB/s are the bytes that have to move at least.
#include <cstdio>
#include <exception>
#include <string>

#include <benchmark/benchmark.h>

#include <lora/cuda.hpp>

#include "gpu/ceilings.hpp"
#include "gpu/support.hpp"

namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void add_context() {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const lora_bench::Ceilings& c = lora_bench::ceilings();
  benchmark::AddCustomContext("gpu", lora::detail::backend().device_name());
  benchmark::AddCustomContext("cuda_of_driver", version_text(driver));
  benchmark::AddCustomContext("cuda_runtime", version_text(runtime));
  benchmark::AddCustomContext("l2_bytes", std::to_string(lora_bench::l2_bytes()));
  benchmark::AddCustomContext("copy GB/s", std::to_string(c.copy.rate() * 1e-9));
  benchmark::AddCustomContext("read GB/s", std::to_string(c.read.rate() * 1e-9));
  benchmark::AddCustomContext("sgemm GFLOP/s", std::to_string(c.matrix.rate() * 1e-9));
  benchmark::AddCustomContext("graph node us", std::to_string(c.node.median * 1e6));
}

void run_all() {
  add_context();
  lora_bench::add_ceilings();
  lora_bench::add_elementwise();
  lora_bench::add_rows();
  lora_bench::add_linear();
  lora_bench::add_lora_linear();
  lora_bench::add_updates();
  benchmark::RunSpecifiedBenchmarks();
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (const std::string reason = lora::why_unavailable(lora::Device::cuda); !reason.empty()) {
    std::puts(reason.c_str());
    return kSkipped;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  try {
    run_all();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lora_gpu_bench: %s\n", error.what());
    return 1;
  }
  return lora_bench::failed_count() == 0 ? 0 : 1;
}
