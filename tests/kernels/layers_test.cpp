// SPDX-License-Identifier: MIT
#include <lora/layers.hpp>

#include "kernels/support.hpp"
#include "support/adapters.hpp"

// Whole models of the layers beyond Linear, adapted: on a GPU they learn what they learn on the
// CPU.

using namespace lora_test;

namespace {

lora::Sequential<float> transformer() {
  lora::PhiloxGenerator generator(1);
  lora::Residual<float> attention;
  attention.add("norm", lora::LayerNorm<float>(8));
  attention.add("self_attn",
                lora::CausalSelfAttention<float>(8, 2, generator, {.fused_qkv = true}));
  lora::Residual<float> mlp;
  mlp.add("norm", lora::RMSNorm<float>(8));
  mlp.add("up", lora::Linear<float>(8, 12, generator)).add("gelu", lora::GELU<float>());
  mlp.add("dropout", lora::Dropout<float>(0.2, 3));
  mlp.add("down", lora::Linear<float>(12, 8, generator));
  lora::Sequential<float> net;
  net.add("token", lora::Embedding<float>(11, 8, generator));
  net.add("position", lora::PositionEmbedding<float>(7, 8, generator));
  net.add("attention", attention).add("mlp", mlp);
  return net;
}

lora::Sequential<float> convolutions() {
  lora::PhiloxGenerator generator(2);
  lora::Sequential<float> net;
  net.add("image", lora::Reshape<float>({2, 5, 6}));
  net.add("conv1", lora::Conv2d<float>(2, 4, 3, generator, {.padding = 1}));
  net.add("silu", lora::SiLU<float>());
  net.add("conv2", lora::Conv2d<float>(4, 6, {2, 3}, generator, {.stride = {1, 2}, .groups = 2}));
  net.add("flatten", lora::Flatten<float>());
  return net;
}

/// The output after three steps of AdamW with clipped gradients.
Tensor<float> train_on(Device device, lora::Sequential<float> net, const lora::LoRAConfig& config,
                       const Tensor<float>& input) {
  lora::adapt(net, config);
  randomize_adapter(net, "default", 4);
  net.to(device);
  const Tensor<float> x = input.to(device);
  const auto parameters = net.parameters();
  lora::AdamW<float> adam(parameters, {.lr = 0.01});
  lora::Saved<float> saved;
  for (int step = 0; step < 3; ++step) {
    const Tensor<float> dy = net.forward(x, saved);
    net.backward(dy, saved);
    lora::clip_grad_norm(parameters, 1.0);
    adam.step();
  }
  net.eval();
  return net.forward(x).to(Device::cpu);
}

void check_equal(const lora::Sequential<float>& net, const lora::LoRAConfig& config,
                 const Tensor<float>& x) {
  const auto copy = [&] { return dynamic_cast<lora::Sequential<float>&>(*net.clone()); };
  CHECK(max_error(train_on(Device::cuda, copy(), config, x),
                  train_on(Device::cpu, copy(), config, x)) < 1e-4);
}

}  // namespace

TEST_CASE("an adapted transformer learns on a GPU as on the CPU", "[kernels][layers]") {
  Tensor<float> codes({2, 7});
  for (index_t i = 0; i < codes.numel(); ++i) codes[i] = static_cast<float>(i * i % 11);
  check_equal(transformer(),
              {.r = 2, .target_modules = {"token", "qkv_proj.q", "qkv_proj.v", "up"}}, codes);
}

TEST_CASE("adapted convolutions learn on a GPU as on the CPU", "[kernels][layers]") {
  check_equal(convolutions(), {.r = 2, .target_modules = {"conv1", "conv2"}, .lora_dropout = 0.3},
              random_tensor<float>({3, 60}, 5));
}
