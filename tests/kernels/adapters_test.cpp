// SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#include <optional>

#include "support/adapters.hpp"
#include "support/models.hpp"

// Layers with every kind of adapter on the device, against the same layers on the CPU, whose tests
// hold them against the formulas.

using namespace lora_test;
using lora::Device;

namespace {

lora::Sequential<float> net_of(const lora::LoRAConfig& config) {
  auto net = small_net<float>(1, 33, 20, 10);
  lora::adapt(net, config);
  lora::add_adapter(net, "other", {.r = 3, .use_dora = true, .seed = 1});
  randomize_adapter(net, "default", 2);
  randomize_adapter(net, "other", 3);
  return net;
}

/// Runs a step on both and compares outputs and gradients. With ids, every row its own.
void compare(const lora::LoRAConfig& config, const std::vector<std::int32_t>& ids = {}) {
  const auto x = random_tensor<float>({5, 33}, 4);
  const auto dy = random_tensor<float>({5, 10}, 5);
  std::vector<Tensor<float>> results[2];
  for (const Device device : {Device::cpu, Device::cuda}) {
    auto net = net_of(config);
    net.to(device);
    std::optional<lora::ScopedAdapterIds<float>> rows;
    if (!ids.empty()) rows.emplace(net, ids);
    const auto input = x.to(device);
    lora::Saved<float> saved;
    Tensor<float> dx;
    auto& result = results[device == Device::cuda];
    result.push_back(net.forward(input, saved).to(Device::cpu));
    net.backward(dy.to(device), saved, &dx);
    result.push_back(dx.to(Device::cpu));
    for (const auto& named : net.named_parameters()) {
      if (named.parameter->grad.empty()) continue;
      result.push_back(named.parameter->grad.dense().to(Device::cpu));
    }
  }
  REQUIRE(results[0].size() == results[1].size());
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    INFO("result " << i << " of shape " << results[0][i].shape().to_string());
    // Two layers, one behind the other, and sums in which large terms cancel.
    CHECK(max_error(results[1][i], results[0][i]) < 1e-4);
  }
}

}  // namespace

TEST_CASE("layers with variants agree with the CPU", "[kernels][adapters]") {
  compare({.r = 2, .lora_alpha = 3, .use_dora = true});
  compare({.r = 1, .lora_dropout = 0.3});
  compare({.r = 2, .bias = lora::LoRABias::lora_only, .lora_bias = true});
}

TEST_CASE("mixed batches agree with the CPU", "[kernels][adapters]") {
  compare({.r = 2}, {0, 1, -1, 1, 0});
  compare({.r = 1, .bias = lora::LoRABias::lora_only}, {1, -1, 0, 0, -1});
}

TEST_CASE("merging on the device gives the bits that it gives on the CPU", "[kernels][adapters]") {
  auto on_cpu = net_of({.r = 2});
  auto on_device = net_of({.r = 2});
  on_device.to(Device::cuda);
  const Tensor<float> before = lora_layer(on_cpu, 0).base().weight.value;
  lora::merge(on_cpu);
  lora::merge(on_device);
  const auto weight = [](lora::Module<float>& net) {
    return lora_layer(net, 0).base().weight.value.to(Device::cpu);
  };
  CHECK(same_bits(weight(on_device), weight(on_cpu)));
  on_device.to(Device::cpu);
  lora::unmerge(on_device);
  CHECK(same_bits(weight(on_device), before));
}

TEST_CASE("adapters of slices agree with the CPU", "[kernels][adapters][slices]") {
  const auto x = random_tensor<float>({5, 33}, 4);
  const auto dy = random_tensor<float>({5, 21}, 5);
  std::vector<Tensor<float>> results[2];
  for (const Device device : {Device::cpu, Device::cuda}) {
    lora::PhiloxGenerator generator(1);
    auto base = std::make_shared<lora::Linear<float>>(33, 21, generator);
    base->split_outputs({"q", "k", "v"});
    lora::LoRALinear<float> layer(base);
    const std::vector<lora::LoRAConfig> configs = {
        {.r = 2, .use_dora = true}, {.r = 3, .lora_bias = true}, {.r = 1, .use_dora = true}};
    for (std::size_t i = 0; i < 3; ++i) {
      const lora::OutputSlice& slice = base->output_slices()[i];
      layer.insert(
          lora::detail::make_lora_adapter(*base, configs[i], generator, slice.name, &slice));
      randomize_adapter(layer, slice.name, 6 + i);
    }
    layer.set_active({"q", "k", "v"});
    layer.to(device);
    const auto input = x.to(device);
    lora::Saved<float> saved;
    Tensor<float> dx;
    auto& result = results[device == Device::cuda];
    result.push_back(layer.forward(input, saved).to(Device::cpu));
    layer.backward(dy.to(device), saved, &dx);
    result.push_back(dx.to(Device::cpu));
    for (const auto& named : layer.named_parameters()) {
      if (named.parameter->grad.empty()) continue;
      result.push_back(named.parameter->grad.dense().to(Device::cpu));
    }
    layer.merge();
    result.push_back(layer.base().weight.value.to(Device::cpu));
  }
  REQUIRE(results[0].size() == results[1].size());
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    INFO("result " << i << " of shape " << results[0][i].shape().to_string());
    CHECK(max_error(results[1][i], results[0][i]) < 1e-5);
  }
  CHECK(same_bits(results[1].back(), results[0].back()));
}
