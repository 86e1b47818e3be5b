// SPDX-License-Identifier: MIT
#include <lora/optim/adamw.hpp>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "support/golden.hpp"
#include "support/models.hpp"

using namespace lora_test;
using lora::Parameter;
using lora::ParameterGroup;

TEST_CASE("AdamW has PyTorch's defaults", "[optim][adamw]") {
  const lora::AdamW<float> adam(std::vector<Parameter<float>*>{});
  CHECK(adam.options.lr == 1e-3);
  CHECK(adam.options.beta1 == 0.9);
  CHECK(adam.options.beta2 == 0.999);
  CHECK(adam.options.eps == 1e-8);
  CHECK(adam.options.weight_decay == 1e-2);
  CHECK(adam.options.decoupled_weight_decay);
  CHECK_FALSE(lora::AdamOptions{}.decoupled_weight_decay);
}

TEMPLATE_TEST_CASE("AdamW takes PyTorch's steps", "[optim][adamw]", float, double) {
  const lora::SafetensorsFile file = golden("optim");
  const auto read = [&](const std::string& name) {
    return convert<TestType>(file.read<double>("adamw." + name));
  };
  std::map<std::string, Parameter<TestType>> parameters;
  for (const char* name : {"weight", "lora_B", "bias"}) {
    parameters[name] = Parameter<TestType>(read(name + std::string(".0")));
  }
  lora::AdamW adam(
      std::vector<ParameterGroup<TestType>>{
          {{&parameters["weight"]}},
          {.parameters = {&parameters["lora_B"]}, .lr_ratio = 16, .weight_decay_ratio = 3},
          {.parameters = {&parameters["bias"]}, .weight_decay_ratio = 0}},
      {.lr = 1e-2});
  for (int step = 1; step <= 5; ++step) {
    for (auto& [name, parameter] : parameters) {
      parameter.grad.accumulate(read(name + ".grad." + std::to_string(step)));
    }
    adam.step();
    for (const auto& [name, parameter] : parameters) {
      INFO(name << ", step " << step);
      const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 1e-12;
      CHECK(max_error(parameter.value, read(name + "." + std::to_string(step))) < tolerance);
    }
  }
}

TEST_CASE("AdamW decays by lr weight_decay what has a gradient, be it 0", "[optim][adamw]") {
  Parameter<double> updated(Tensor<double>({2}, {8, -2})), idle(updated), frozen(updated);
  lora::AdamW<double> adam({&updated, &idle, &frozen}, {.lr = 0.5, .weight_decay = 0.25});
  frozen.trainable = false;
  updated.grad.accumulate(Tensor<double>({2}));
  frozen.grad.accumulate(Tensor<double>({2}));
  adam.step();
  CHECK(same_bits(updated.value, Tensor<double>({2}, {7, -1.75})));
  CHECK(same_bits(idle.value, Tensor<double>({2}, {8, -2})));
  CHECK(same_bits(frozen.value, idle.value));
}

TEST_CASE("AdamW's decay does not reach the moments, and follows the learning rate",
          "[optim][adamw]") {
  Parameter<double> plain(random_tensor<double>({21}, 1)), decayed(plain.value);
  lora::Adam<double> adam({&plain});
  lora::AdamW<double> adamw({&decayed}, {.weight_decay = 0.5});
  Tensor<double> before = plain.value, decayed_before = plain.value;
  for (int step = 0; step < 6; ++step) {
    adam.options.lr = adamw.options.lr = 0.1 / (1 + step);
    const auto gradient = random_tensor<double>({21}, static_cast<std::uint64_t>(2 + step));
    plain.grad.accumulate(gradient);
    decayed.grad.accumulate(gradient);
    adam.step();
    adamw.step();
    INFO("step " << step);
    for (index_t i = 0; i < 21; ++i) {
      const double change = plain.value[i] - before[i];
      const double kept = decayed_before[i] * (1 - 0.5 * adam.options.lr);
      CHECK(decayed.value[i] == approx(kept + change).epsilon(1e-13));
    }
    before = plain.value;
    decayed_before = decayed.value;
  }
}

TEST_CASE("a decay far below the precision of 1 is kept", "[optim][adamw]") {
  // 1 - 2e-8 is 1 in float, but 2e-8 of a value beside a change of its size is not nothing.
  Parameter<float> parameter(Tensor<float>({1}, {1}));
  lora::AdamW<float> adam({&parameter}, {.lr = 2e-8, .weight_decay = 1});
  parameter.grad.accumulate(Tensor<float>({1}, {1}));
  adam.step();
  CHECK(parameter.value[0] == 1 - 0x1p-24f);  // 1 - 4e-8; without the decay it would be 1
}

TEST_CASE("no decay changes no bit of Adam", "[optim][adamw]") {
  for (const index_t size : {1, 10, 77, 1001}) {
    INFO("size " << size);
    Parameter<float> plain(random_tensor<float>({size}, 1)), decoupled(plain.value);
    Parameter<float> exempt(plain.value);
    lora::Adam<float> adam({&plain});
    lora::AdamW<float> adamw({&decoupled}, {.weight_decay = 0});
    lora::AdamW grouped(
        std::vector<ParameterGroup<float>>{{.parameters = {&exempt}, .weight_decay_ratio = 0}});
    for (std::uint64_t seed = 2; seed < 6; ++seed) {
      for (Parameter<float>* p : {&plain, &decoupled, &exempt}) {
        p->grad.accumulate(random_tensor<float>({size}, seed));
      }
      adam.step();
      adamw.step();
      grouped.step();
    }
    CHECK(same_bits(decoupled.value, plain.value));
    CHECK(same_bits(exempt.value, plain.value));
  }
}
