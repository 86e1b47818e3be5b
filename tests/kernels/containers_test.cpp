// SPDX-License-Identifier: MIT
#include <lora/nn/embedding.hpp>
#include <lora/nn/parallel.hpp>
#include <lora/nn/recompute.hpp>
#include <lora/nn/residual.hpp>

#include <cmath>

#include "kernels/support.hpp"

using namespace lora_test;
using lora::Linear;
using lora::ReLU;

namespace {

lora::Sequential<float> make_net() {
  lora::PhiloxGenerator generator(1);
  lora::Residual<float> residual;
  residual.add("up", Linear<float>(8, 20, generator)).add("relu", ReLU<float>());
  residual.add("down", Linear<float>(20, 8, generator));
  lora::Parallel<float> parallel(lora::ParallelCombine::concatenate);
  parallel.add("narrow", Linear<float>(8, 3, generator));
  parallel.add("wide", Linear<float>(8, 9, generator));
  lora::Recompute<float> block;
  block.add("residual", residual).add("parallel", parallel);
  lora::Sequential<float> net;
  net.add("embedding", lora::Embedding<float>(10, 8, generator)).add("block", block);
  net.add("head", Linear<float>(12, 5, generator));
  return net;
}

/// The outputs after three steps.
Tensor<float> train_on(Device device) {
  lora::Sequential<float> net = make_net();
  net.to(device);
  Tensor<float> indices({33});
  for (index_t i = 0; i < 33; ++i) indices[i] = static_cast<float>(i * i % 10);
  indices = indices.to(device);
  lora::Adam<float> adam(net.parameters(), {.lr = 0.01});
  lora::Saved<float> saved;
  for (int step = 0; step < 3; ++step) {
    const Tensor<float> dy = net.forward(indices, saved);
    net.backward(dy, saved);
    adam.step();
  }
  return net.forward(indices).to(Device::cpu);
}

}  // namespace

TEST_CASE("embeddings and containers train on a GPU as on the CPU", "[kernels][containers]") {
  CHECK(max_error(train_on(Device::cuda), train_on(Device::cpu)) < 1e-4);
}

TEST_CASE("a graph records containers, but no Recompute", "[kernels][containers][graph]") {
  lora::Sequential<float> net = make_net();
  net.to(Device::cuda);
  const Tensor<float> indices = on_gpu(Tensor<float>({2}, {1, 7}));
  lora::Saved<float> saved;
  net.forward(indices, saved);
  CHECK_THROWS_AS(lora::capture([&] { net.forward(indices, saved); }), lora::DeviceError);

  lora::Sequential<float> all;
  for (const auto& child : net.children()[1].module->children()) all.add(child.name, child.module);
  const Tensor<float> x = on_gpu(random_tensor<float>({2, 8}, 1));
  const Tensor<float> dy = on_gpu(random_tensor<float>({2, 12}, 2));
  lora::Saved<float> of_all;
  Tensor<float> dx;
  all.forward(x, of_all);
  all.backward(dy, of_all, &dx);
  for (auto* parameter : all.parameters()) parameter->grad.clear();
  const lora::Graph graph = lora::capture([&] {
    all.forward(x, of_all);
    all.backward(dy, of_all, &dx);
  });
  const Tensor<float> expected = on_cpu(dx);
  lora::ops::fill(dx, NAN);
  graph.launch();
  CHECK(same_bits(on_cpu(dx), expected));
}
