// SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#include <lora/io/checkpoint.hpp>
#include <memory>

#include "support/host_backend.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using lora::Linear;

namespace {

/// shared - relu - shared, and the layer itself.
struct Tied {
  explicit Tied(std::uint64_t seed) {
    lora::PhiloxGenerator generator(seed);
    layer = std::make_shared<Linear<float>>(4, 4, generator);
    lora::Sequential<float> inner;
    inner.add("again", layer);
    net.add("first", layer).add("relu", lora::ReLU<float>()).add("inner", inner);
  }

  std::shared_ptr<Linear<float>> layer;
  lora::Sequential<float> net;
};

}  // namespace

TEST_CASE("a parameter that modules share is listed once, under its first path", "[nn][shared]") {
  Tied tied(1);
  const auto named = tied.net.named_parameters();
  REQUIRE(named.size() == 2);
  CHECK(named[0].name == "first.weight");
  CHECK(named[1].name == "first.bias");
  CHECK(tied.net.parameters().size() == 2);
  CHECK(lora::count_parameters(tied.net).all == 20);
}

TEST_CASE("an optimizer updates a shared parameter once, by the sum of its gradients",
          "[nn][shared]") {
  Tied tied(1);
  const auto x = random_tensor<float>({3, 4}, 2), dy = random_tensor<float>({3, 4}, 3);
  lora::Saved<float> saved;
  tied.net.forward(x, saved);
  tied.net.backward(dy, saved);

  lora::Parameter<float> alone(tied.layer->weight.value);
  alone.grad.accumulate(tied.layer->weight.grad.dense());
  lora::Adam<float> expected({&alone}, {.lr = 0.1}), adam(tied.net.parameters(), {.lr = 0.1});
  for (int step = 0; step < 2; ++step) {
    if (step > 0) {
      tied.net.forward(x, saved);
      tied.net.backward(dy, saved);
      alone.grad.accumulate(tied.layer->weight.grad.dense());
    }
    adam.step();
    expected.step();
    CHECK(max_error(tied.layer->weight.value, alone.value) < 1e-6);
  }
}

TEST_CASE("a model with a shared layer is saved, loaded and moved", "[nn][shared]") {
  const TemporaryFolder folder;
  Tied tied(1), other(2);
  const auto x = random_tensor<float>({3, 4}, 2);
  const Tensor<float> y = tied.net.forward(x);
  lora::save_model(tied.net, folder / "model.safetensors");
  lora::load_model(other.net, folder / "model.safetensors");
  CHECK(same_bits(other.net.forward(x), y));

  const HostBackend device;
  other.net.to(lora::Device::cuda);
  CHECK(other.layer->weight.value.device() == lora::Device::cuda);
  CHECK(same_bits(other.net.forward(x.to(lora::Device::cuda)).to(lora::Device::cpu), y));
  other.net.to(lora::Device::cpu);
  CHECK(same_bits(other.net.forward(x), y));
}
