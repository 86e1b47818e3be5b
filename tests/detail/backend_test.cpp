// SPDX-License-Identifier: MIT
#include <lora/detail/backend.hpp>

#include "support/host_backend.hpp"
#include "support/models.hpp"

using namespace lora_test;
using lora::Device;

namespace {

// Pretrains, adapts and fine-tunes a small network on a device; returns the losses and logits.
Tensor<float> train_on(Device device) {
  lora::Sequential<float> net = small_net<float>(5);
  net.to(device);
  const Tensor<float> x = random_tensor<float>({9, 7}, 6).to(device);
  Tensor<std::int32_t> labels({9});
  for (index_t i = 0; i < 9; ++i) labels[i] = static_cast<std::int32_t>(i % 4);
  labels = labels.to(device);
  Tensor<float> results({21});
  const auto train = [&](auto& optimizer, index_t first) {
    lora::Saved<float> saved;
    Tensor<float> dlogits;
    for (index_t i = 0; i < 5; ++i) {
      const auto& logits = net.forward(x, saved);
      results[first + i] = static_cast<float>(lora::softmax_cross_entropy(logits, labels, dlogits));
      if (i % 2) {
        net.backward(dlogits, saved);
        optimizer.step();
      } else {
        optimizer.backward_and_step(net, dlogits, saved);
      }
    }
  };
  lora::Adam<float> adam(net.parameters(), {.lr = 1e-2});
  train(adam, 0);
  lora::adapt(net, {.r = 2});
  lora::Adam<float> adapters(net.parameters(), {.lr = 1e-2});
  train(adapters, 5);
  for (auto* parameter : net.parameters()) parameter->trainable = true;
  lora::SGD<float> sgd(net.parameters(), {.lr = 1e-2});
  train(sgd, 10);
  for (const auto& [path, layer] : lora::lora_layers(net)) layer->merge();
  const Tensor<float> logits = net.forward(x).to(Device::cpu);
  for (index_t i = 0; i < 6; ++i) results[15 + i] = logits[i];
  return results;
}

}  // namespace

TEST_CASE("a device behind the table trains as the CPU does, bit for bit", "[backend]") {
  const HostBackend device;
  CHECK(same_bits(train_on(Device::cuda), train_on(Device::cpu)));
  CHECK(HostBackend::blocks() == 0);
}

TEST_CASE("a tensor's memory on a device is given back", "[backend]") {
  const HostBackend device;
  {
    const Tensor<float> x = random_tensor<float>({3, 4}, 1).to(Device::cuda);
    CHECK(x.device() == Device::cuda);
    CHECK(HostBackend::blocks() == 1);
    const Tensor<float> copy = x;
    CHECK(HostBackend::blocks() == 2);
    CHECK(same_bits(copy.to(Device::cpu), random_tensor<float>({3, 4}, 1)));
  }
  CHECK(HostBackend::blocks() == 0);
}

TEST_CASE("an op's error names both devices", "[backend][errors]") {
  const HostBackend device;
  const Tensor<float> x({2, 3});
  const Tensor<float> w = Tensor<float>({4, 3}).to(Device::cuda);
  Tensor<float> y;
  CHECK_THROWS_WITH(lora::ops::linear<float>(x, w, nullptr, y), contains("linear: ") &&
                                                                    contains("(2, 3) on cpu") &&
                                                                    contains("(4, 3) on cuda"));
}

TEST_CASE("a kernel's error code becomes an exception with the op and the text",
          "[backend][errors]") {
  HostBackend device;
  device.table().relu = [](auto, auto, void*) { return 700; };
  const Tensor<float> x = Tensor<float>({2}).to(Device::cuda);
  Tensor<float> y;
  CHECK_THROWS_WITH(lora::ops::relu(x, y), contains("relu on cuda: the launch failed"));
}

TEST_CASE("the CUDA kernels take float alone", "[backend][errors]") {
  const HostBackend device;
  const Tensor<double> x = Tensor<double>({2}).to(Device::cuda);
  Tensor<double> y;
  CHECK_THROWS_WITH(lora::ops::relu(x, y), contains("relu") && contains("take float"));
}

TEST_CASE("best_device is the GPU where there is one", "[device]") {
  CHECK(lora::best_device() == Device::cpu);
  const HostBackend device;
  CHECK(lora::best_device() == Device::cuda);
  HostBackend::reason() = "device cuda is not there: the driver is too old";
  CHECK(lora::best_device() == Device::cpu);
  CHECK(lora::why_unavailable(Device::cuda) == "device cuda is not there: the driver is too old");
  CHECK_THROWS_WITH(Tensor<float>({2}).to(Device::cuda), contains("the driver is too old"));
}

TEST_CASE("without a kernel library one sentence says why there is no GPU", "[device][errors]") {
  CHECK(lora::why_unavailable(Device::cpu).empty());
  CHECK_THROWS_WITH(Tensor<float>({2}).to(Device::cuda),
                    contains("device cuda is not there: this program was built without"));
}
