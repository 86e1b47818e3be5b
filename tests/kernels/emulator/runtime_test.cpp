// SPDX-License-Identifier: MIT
// Failures that a working device does not give, through the emulator's hooks.
#include "kernels/runtime.hpp"

#include <cstdlib>

#include <lora_emu/control.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

std::string reason_with(cudaError_t failure) {
  lora_emu::set_device_failure(failure);
  const std::string reason = lora::cuda::find_reason_unavailable();
  lora_emu::set_device_failure(cudaSuccess);
  return reason;
}

}  // namespace

TEST_CASE("one sentence says why the device is not there", "[runtime][errors]") {
  CHECK(lora::cuda::find_reason_unavailable().empty());
  CHECK_THAT(reason_with(cudaErrorInsufficientDriver),
             contains("device cuda is not there: ") && contains("driver"));
  CHECK_THAT(reason_with(cudaErrorNoDevice),
             contains("device cuda is not there: ") && contains("no NVIDIA GPU"));
  CHECK_THAT(reason_with(cudaErrorNoKernelImageForDevice),
             contains("device cuda is not there: the kernels were not built for the GPU"));
  CHECK_THAT(reason_with(cudaErrorInitializationError),
             contains("device cuda is not there: ") && contains("(cudaErrorInitializationError)"));
  CHECK(lora::cuda::find_reason_unavailable().empty());
}

TEST_CASE("a wrong LORA_GEMM is a reason too", "[runtime][errors]") {
  setenv("LORA_GEMM", "fast", 1);
  const std::string reason = lora::cuda::find_reason_unavailable();
  unsetenv("LORA_GEMM");
  CHECK_THAT(reason, contains("LORA_GEMM=fast: expected own, cublas or auto"));
}

TEST_CASE("an error's text has CUDA's words and CUDA's name", "[runtime][errors]") {
  CHECK_THAT(lora::cuda::error_text(cudaErrorMemoryAllocation),
             contains("(cudaErrorMemoryAllocation)"));
}

TEST_CASE("an allocation that fails is an exception, and the next one works", "[runtime][errors]") {
  lora_emu::fail_next_allocation(cudaErrorMemoryAllocation);
  CHECK_THROWS_WITH(Tensor<float>({4}).to(Device::cuda),
                    contains("allocate: ") && contains("(cudaErrorMemoryAllocation)"));
  CHECK(Tensor<float>({4}).to(Device::cuda).numel() == 4);
}

TEST_CASE("a launch that fails names the op, and the next one works", "[runtime][errors]") {
  Tensor<float> y = Tensor<float>({4}).to(Device::cuda);
  lora_emu::fail_next_launch(cudaErrorLaunchOutOfResources);
  CHECK_THROWS_WITH(lora::ops::fill(y, 1.0),
                    contains("fill on cuda: ") && contains("(cudaErrorLaunchOutOfResources)"));
  lora::ops::fill(y, 1.0);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("the workspaces of streams and graphs are given back with them", "[runtime][graph]") {
  const Tensor<float> logits = random_tensor<float>({40, 1100}, 1).to(Device::cuda);
  const Tensor<std::int32_t> labels = Tensor<std::int32_t>({40}).to(Device::cuda);
  const Tensor<index_t> step = Tensor<index_t>({1}, {1}).to(Device::cuda);
  Tensor<double> losses({1}, Device::cuda);
  Tensor<float> dlogits;
  const double loss = lora::softmax_cross_entropy(logits, labels, dlogits);
  const std::size_t before = lora_emu::live_allocations();
  {
    const lora::Stream stream;
    const lora::ScopedStream scope(stream);
    CHECK(lora::softmax_cross_entropy(logits, labels, dlogits) == loss);
    CHECK(lora_emu::live_allocations() > before);
  }
  CHECK(lora_emu::live_allocations() == before);
  {
    const auto run = [&] { lora::softmax_cross_entropy(logits, labels, dlogits, losses, step); };
    const lora::Graph one = lora::capture(run);
    const lora::Graph two = lora::capture(run);
    one.launch();
    two.launch();
    CHECK(losses.to(Device::cpu)[0] == loss);
    CHECK_THROWS_AS(lora::capture([] { throw lora::ValueError("stop"); }), lora::ValueError);
  }
  CHECK(lora_emu::live_allocations() == before);
}

TEST_CASE("a workspace that cannot grow is an error, and it grows the next time",
          "[runtime][errors]") {
  const Tensor<float> logits = random_tensor<float>({2, 1100}, 1).to(Device::cuda);
  const Tensor<std::int32_t> labels = Tensor<std::int32_t>({2}).to(Device::cuda);
  Tensor<float> dlogits = Tensor<float>({2, 1100}).to(Device::cuda);
  lora::softmax_cross_entropy(logits, labels, dlogits);
  const lora::Stream stream;
  const lora::ScopedStream scope(stream);
  lora_emu::fail_next_allocation(cudaErrorMemoryAllocation);
  CHECK_THROWS_AS(lora::softmax_cross_entropy(logits, labels, dlogits), lora::DeviceError);
  CHECK(std::isfinite(lora::softmax_cross_entropy(logits, labels, dlogits)));
}

TEST_CASE("a tensor may be destroyed while a graph is recorded", "[runtime][graph]") {
  const std::size_t before = lora_emu::live_allocations();
  {
    auto old = std::make_unique<Tensor<float>>(Tensor<float>({3}).to(Device::cuda));
    Tensor<float> y = Tensor<float>({3}).to(Device::cuda);
    const lora::Graph graph = lora::capture([&] {
      old.reset();
      lora::ops::fill(y, 1.0);
    });
    graph.launch();
    CHECK(y.to(Device::cpu)[2] == 1.0f);
  }
  CHECK(lora_emu::live_allocations() == before);
}

TEST_CASE("a ring frees its memory when what is in flight has landed", "[runtime][staging]") {
  const std::size_t before = lora_emu::live_allocations();
  {
    Tensor<float> x({100}, Device::cuda);
    lora::StagingRing<float> ring(100, 3);
    for (int i = 0; i < 3; ++i) {
      ring.next();
      ring.upload(x);
    }
  }
  CHECK(lora_emu::live_allocations() == before);
}
