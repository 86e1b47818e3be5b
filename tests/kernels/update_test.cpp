// SPDX-License-Identifier: MIT
#include <lora/ops/adam.hpp>
#include <lora/ops/sgd.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

struct AdamTensors {
  Tensor<float> value;
  lora::AdamState<float> state;

  explicit AdamTensors(index_t size)
      : value(random_tensor<float>({size}, 1)),
        state{Tensor<float>({size}), Tensor<float>({size})} {}

  AdamTensors to(Device device) const {
    AdamTensors copy = *this;
    copy.value = value.to(device);
    copy.state = {state.m.to(device), state.v.to(device)};
    return copy;
  }
};

void check_same(const AdamTensors& gpu, const AdamTensors& cpu) {
  const AdamTensors result = gpu.to(Device::cpu);
  if (cpu_has_fma()) {
    CHECK(same_bits(result.value, cpu.value));
    CHECK(same_bits(result.state.m, cpu.state.m));
    CHECK(same_bits(result.state.v, cpu.state.v));
  } else {
    CHECK(max_error(result.value, cpu.value) < 1e-6);
  }
}

}  // namespace

TEST_CASE("adam gives the CPU's bits", "[kernels][adam]") {
  for (const index_t size : kSizes) {
    for (const auto& [weight_decay, decoupled] :
         {std::pair{0.0, false}, std::pair{0.01, false}, std::pair{0.1, true}}) {
      INFO("size " << size << ", weight decay " << weight_decay
                   << (decoupled ? ", decoupled" : ""));
      const lora::AdamOptions options{
          .lr = 0.01, .weight_decay = weight_decay, .decoupled_weight_decay = decoupled};
      AdamTensors cpu(size);
      AdamTensors gpu = cpu.to(Device::cuda);
      for (int step = 1; step <= 2; ++step) {
        const auto seed = static_cast<std::uint64_t>(10 + step);
        const Tensor<float> gradient = random_tensor<float>({size}, seed);
        const auto schedule = lora::detail::adam_schedule(options, step, 4, 0.75);
        lora::ops::adam(gradient, cpu.value, cpu.state, schedule);
        lora::ops::adam(on_gpu(gradient), gpu.value, gpu.state, schedule);
      }
      check_same(gpu, cpu);
    }
  }
}

TEST_CASE("adam takes its scalars from a table on the device", "[kernels][adam]") {
  const lora::AdamOptions options{.lr = 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true};
  AdamTensors cpu(100);
  AdamTensors gpu = cpu.to(Device::cuda);
  constexpr index_t kSteps = 3;
  constexpr index_t kScalars = sizeof(lora::detail::AdamScalars) / sizeof(double);
  Tensor<double> of_step({kSteps, kScalars});
  for (index_t i = 0; i < kSteps; ++i) {
    const lora::detail::AdamScalars scalars = lora::detail::adam_scalars(options, i + 1);
    std::memcpy(of_step.data() + i * kScalars, &scalars, sizeof(scalars));
  }
  const Tensor<double> gpu_table = on_gpu(of_step);
  for (index_t step = 1; step <= kSteps; ++step) {
    const Tensor<float> gradient = random_tensor<float>({100}, static_cast<std::uint64_t>(step));
    const Tensor<index_t> gpu_step = on_gpu(Tensor<index_t>({1}, {step}));
    const lora::detail::AdamSchedule schedule{
        {},
        reinterpret_cast<const lora::detail::AdamScalars*>(gpu_table.data()),
        gpu_step.data(),
        16,
        0.5};
    lora::ops::adam(gradient, cpu.value, cpu.state,
                    lora::detail::adam_schedule(options, step, 16, 0.5));
    lora::ops::adam(on_gpu(gradient), gpu.value, gpu.state, schedule);
  }
  check_same(gpu, cpu);
}

TEST_CASE("sgd gives the CPU's bits", "[kernels][sgd]") {
  for (const index_t size : kSizes) {
    INFO("size " << size);
    const Tensor<float> gradient = random_tensor<float>({size}, 2);
    Tensor<float> value = random_tensor<float>({size}, 1);
    Tensor<float> gpu_value = on_gpu(value);
    const lora::SGDOptions options{.lr = 0.1, .weight_decay = 0.01};
    lora::ops::sgd(gradient, value, options);
    lora::ops::sgd(on_gpu(gradient), gpu_value, options);
    if (cpu_has_fma()) {
      CHECK(same_bits(on_cpu(gpu_value), value));
    } else {
      CHECK(max_error(on_cpu(gpu_value), value) < 1e-6);
    }
  }
}
