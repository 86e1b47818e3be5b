// SPDX-License-Identifier: MIT
#include <lora/lora.hpp>

#include <map>

#include "support/adapters.hpp"
#include "support/host_backend.hpp"
#include "support/models.hpp"

// What users of other implementations report as wrong, a test each. The issue numbers are theirs:
// peft#N is huggingface/peft, loralib#N is microsoft/LoRA.

using namespace lora_test;

namespace {

/// Counts the calls of each kernel of a step on a device.
class CallCounter {
 public:
  CallCounter() {
    auto& table = device_.table();
    count<&lora::detail::Backend::linear>(table.linear, "linear");
    count<&lora::detail::Backend::lora_linear>(table.lora_linear, "lora_linear");
    count<&lora::detail::Backend::multi_lora_shrink>(table.multi_lora_shrink, "shrink");
    count<&lora::detail::Backend::multi_lora_expand>(table.multi_lora_expand, "expand");
    count<&lora::detail::Backend::linear_backward_input>(table.linear_backward_input, "dx");
    count<&lora::detail::Backend::linear_backward_adam>(table.linear_backward_adam, "adam");
    count<&lora::detail::Backend::lora_linear_backward_adam>(table.lora_linear_backward_adam,
                                                             "lora_adam");
    count<&lora::detail::Backend::dora_linear>(table.dora_linear, "dora_linear");
    calls().clear();
  }

  static std::map<std::string, int>& calls() {
    static std::map<std::string, int> counts;
    return counts;
  }

 private:
  template <auto Slot, class R, class... Args>
  void count(R (*&slot)(Args...), const char* name) {
    static R (*original)(Args...);
    static const char* label;
    original = slot;
    label = name;
    slot = [](Args... args) {
      ++calls()[label];
      return original(args...);
    };
  }

  HostBackend device_;
};

template <class T>
lora::Sequential<T> trained(const lora::LoRAConfig& config) {
  auto net = small_net<T>(1, 40, 30, 20);
  lora::adapt(net, config);
  randomize_adapter(net, "default", 2);
  return net;
}

}  // namespace

TEST_CASE("merged equals unmerged, with alpha other than r (peft#1388, peft#2502)",
          "[peer_faults]") {
  for (const bool dora : {false, true}) {
    auto net = trained<float>({.r = 2, .lora_alpha = 7, .use_dora = dora});
    const auto x = random_tensor<float>({5, 40}, 3);
    const Tensor<float> apart = net.forward(x);
    lora::merge(net);
    CHECK(max_error(net.forward(x), apart) < 1e-4);
  }
}

TEST_CASE("a merge is applied, and once (loralib#34, loralib#61, candle-lora#26)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  auto& layer = lora_layer(net, 0);
  const Tensor<float> effective = layer.effective_weight();
  lora::merge(net);
  net.eval();
  lora::merge(net);
  net.train();
  CHECK(same_bits(layer.base().weight.value, effective));
}

TEST_CASE("a merge that cannot be is not made by half (peft, Linear.merge(safe_merge=True))",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2, .lora_bias = true});
  lora_layer(net, 1).adapter().lora_B_bias.value[0] = NAN;
  const Tensor<float> weight = lora_layer(net, 0).base().weight.value;
  CHECK_THROWS_AS(lora::merge(net), lora::ValueError);
  CHECK(same_bits(lora_layer(net, 0).base().weight.value, weight));
}

TEST_CASE("unmerging is exact without a copy of W (peft#643, peft#3412)", "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  // An update of some percent of W, as training leaves it.
  lora::ops::scale(lora_layer(net, 0).adapter().lora_B.value, 0.01);
  const Tensor<float> weight = lora_layer(net, 0).base().weight.value;
  const auto report = lora::merge(net);
  lora::unmerge(net);
  CHECK(same_bits(lora_layer(net, 0).base().weight.value, weight));
  CHECK(report[0].error.patch_bytes <
        static_cast<std::size_t>(weight.numel()) * sizeof(float) / 20);
}

TEST_CASE("DoRA visits W as often as LoRA does (peft#1474, peft#1692, peft#2651)",
          "[peer_faults]") {
  CallCounter counter;
  auto net = trained<float>({.r = 1, .use_dora = true});
  net.to(lora::Device::cuda);
  const auto x = random_tensor<float>({5, 40}, 3).to(lora::Device::cuda);
  lora::Saved<float> saved;
  Tensor<float> dx;
  const auto dy = net.forward(x, saved);
  net.backward(dy, saved, &dx);
  CHECK(CallCounter::calls() ==
        std::map<std::string, int>{{"dora_linear", 2}, {"shrink", 2}, {"expand", 2}, {"dx", 2}});
}

TEST_CASE("a LoRA step launches no more kernels than a full one (peft#925, peft#960)",
          "[peer_faults]") {
  const auto launches = [](bool lora) {
    CallCounter counter;
    auto net = small_net<float>(1, 40, 30, 20);
    if (lora) lora::adapt(net, {.r = 1});
    net.to(lora::Device::cuda);
    const auto x = random_tensor<float>({5, 40}, 3).to(lora::Device::cuda);
    lora::Adam<float> adam(net.parameters());
    lora::Saved<float> saved;
    adam.backward_and_step(net, net.forward(x, saved), saved);
    int sum = 0;
    for (const auto& [name, count] : CallCounter::calls()) sum += count;
    return sum;
  };
  CHECK(launches(true) == 4);
  CHECK(launches(false) == 4);
}

TEST_CASE("an adapter that is not used costs nothing (vllm#10898)", "[peer_faults]") {
  CallCounter counter;
  auto net = trained<float>({.r = 1});
  net.to(lora::Device::cuda);
  const auto x = random_tensor<float>({5, 40}, 3).to(lora::Device::cuda);
  const std::map<std::string, int> of_the_base{{"linear", 2}};
  {
    const lora::ScopedDisable off(net);
    net.forward(x);
    CHECK(CallCounter::calls() == of_the_base);
  }
  CallCounter::calls().clear();
  lora::set_adapters(net, {});
  net.forward(x);
  CHECK(CallCounter::calls() == of_the_base);
}

TEST_CASE("switching and disabling do not change what is trainable (peft#3580, peft#3447)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  lora::add_adapter(net, "other", {.r = 1});
  auto& frozen = lora_layer(net, 0).adapter("default").lora_A;
  frozen.trainable = false;
  lora::set_adapter(net, "other");
  lora::set_adapter(net, "default");
  { const lora::ScopedDisable off(net); }
  lora::merge(net);
  lora::unmerge(net);
  CHECK_FALSE(frozen.trainable);
  CHECK(lora_layer(net, 0).adapter("default").lora_B.trainable);
}

TEST_CASE("a second adapter is trained, active beside a frozen one (peft#1303, peft#1374)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  lora::add_adapter(net, "second", {.r = 1});
  for (const auto& named : lora::adapter_parameters(net, "default")) {
    named.parameter->trainable = false;
  }
  lora::set_adapters(net, {"default", "second"});
  const Tensor<float> first = lora_layer(net, 0).adapter("default").lora_B.value;
  const Tensor<float> second = lora_layer(net, 0).adapter("second").lora_B.value;
  lora::Adam<float> adam(net.parameters());
  lora::Saved<float> saved;
  const auto x = random_tensor<float>({5, 40}, 3);
  adam.backward_and_step(net, net.forward(x, saved), saved);
  CHECK(same_bits(lora_layer(net, 0).adapter("default").lora_B.value, first));
  CHECK_FALSE(same_bits(lora_layer(net, 0).adapter("second").lora_B.value, second));
}

TEST_CASE("disabled is the base with biases and modules trained (peft#741, peft#736)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2,
                             .target_modules = {"linear1"},
                             .bias = lora::LoRABias::all,
                             .modules_to_save = {"linear2"}});
  auto base = small_net<float>(1, 40, 30, 20);
  const auto x = random_tensor<float>({5, 40}, 3);
  CHECK_FALSE(same_bits(net.forward(x), base.forward(x)));
  const lora::ScopedDisable off(net);
  CHECK(same_bits(net.forward(x), base.forward(x)));
}

TEST_CASE("a nested disable does not enable again (Megatron-Bridge#5945)", "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  const lora::ScopedDisable outer(net);
  { const lora::ScopedDisable inner(net); }
  CHECK_FALSE(lora_layer(net, 0).enabled());
}

TEST_CASE("a weighted combination has no cross terms (peft#3013, peft#643)", "[peer_faults]") {
  auto net = trained<double>({.r = 2});
  lora::add_adapter(net, "other", {.r = 3});
  randomize_adapter(net, "other", 5);
  auto& layer = lora_layer(net, 0);
  const auto x = random_tensor<double>({5, 40}, 3);
  const auto change = [&](const std::string& name) {
    lora::set_adapter(net, name);
    Tensor<double> y = layer.forward(x);
    lora::ops::add_scaled(layer.base().forward(x), y, -1.0);
    return y;
  };
  lora::add_weighted_adapter(net, {"default", "other"}, {2, -3}, "sum");
  Tensor<double> expected = change("default");
  lora::ops::scale(expected, 2.0);
  lora::ops::add_scaled(change("other"), expected, -3.0);
  CHECK(max_error(change("sum"), expected) < 1e-12);
}

TEST_CASE("an unknown name in a mixed batch is an error, not the base (peft#2090)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  CHECK_THROWS_WITH(lora::adapter_ids(net, {"default", "defualt"}), contains("\"defualt\""));
}

TEST_CASE("a mixed batch can be trained, DoRA and base rows in it (peft#1558, peft#804)",
          "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  lora::add_adapter(net, "dora", {.r = 1, .use_dora = true});
  const auto x = random_tensor<float>({3, 40}, 3);
  lora::Saved<float> saved;
  const lora::ScopedAdapterIds rows(net, lora::adapter_ids(net, {"dora", "", "default"}));
  net.backward(net.forward(x, saved), saved);
  for (const auto& named : lora::adapter_parameters(net, "dora")) {
    INFO(named.name);
    CHECK_FALSE(named.parameter->grad.empty());
  }
}

TEST_CASE("one adapter's NaN does not reach the rows of another", "[peer_faults]") {
  auto net = trained<float>({.r = 2});
  lora::add_adapter(net, "broken", {.r = 2, .use_dora = true});
  const auto x = random_tensor<float>({2, 40}, 3);
  const auto run = [&] {
    const lora::ScopedAdapterIds rows(net, lora::adapter_ids(net, {"broken", "default"}));
    const Tensor<float> y = net.forward(x);
    return Tensor<float>({20}, std::span(y.span()).last(20));
  };
  const Tensor<float> before = run();
  for (const auto& named : lora::adapter_parameters(net, "broken")) {
    lora::ops::fill(named.parameter->value, NAN);
  }
  CHECK(same_bits(run(), before));
}

TEST_CASE("dropout is off when an adapter joins a model in eval() (peft#3766)", "[peer_faults]") {
  auto net = small_net<float>(1, 40, 30, 20);
  net.eval();
  lora::adapt(net, {.r = 2, .lora_dropout = 0.5});
  randomize_adapter(net, "default", 2);
  const auto x = random_tensor<float>({5, 40}, 3);
  CHECK(same_bits(net.forward(x), net.forward(x)));
  net.train();
  CHECK_FALSE(same_bits(net.forward(x), net.forward(x)));
}
