// SPDX-License-Identifier: MIT
#include <lora/optim/adam.hpp>

#include <cmath>

#include "support/models.hpp"

using namespace lora_test;
using lora::Parameter;

namespace {

// Adam in plain scalar code.
struct ScalarAdam {
  float m = 0, v = 0;

  void step(float& p, float g, int t, const lora::AdamOptions& o) {
    g = o.weight_decay != 0 ? std::fma(static_cast<float>(o.weight_decay), p, g) : g;
    m = std::fma(g, static_cast<float>(1 - o.beta1), m * static_cast<float>(o.beta1));
    v = std::fma(static_cast<float>(1 - o.beta2) * g, g, v * static_cast<float>(o.beta2));
    const double correction = std::sqrt(1 - std::pow(o.beta2, t));
    const auto step_size = static_cast<float>(-(o.lr * correction / (1 - std::pow(o.beta1, t))));
    p += step_size * m / (std::sqrt(v) + static_cast<float>(o.eps * correction));
  }
};

}  // namespace

TEST_CASE("Adam follows the scalar formula, bit for bit", "[optim][adam]") {
  if (lora::cpu::isa() == lora::cpu::Isa::baseline) {
    WARN("the baseline instruction set has no fused multiply-add: not compared bit for bit");
    return;
  }
  for (const double weight_decay : {0.0, 0.01}) {
    const lora::AdamOptions options{.lr = 3e-3, .weight_decay = weight_decay};
    Parameter<float> parameter(random_tensor<float>({77}, 1));
    Tensor<float> expected = parameter.value;
    std::vector<ScalarAdam> states(77);
    lora::Adam<float> adam({&parameter}, options);
    for (int t = 1; t <= 20; ++t) {
      const auto gradient = random_tensor<float>({77}, static_cast<std::uint64_t>(t + 10));
      parameter.grad.accumulate(gradient);
      adam.step();
      for (std::size_t i = 0; i < states.size(); ++i) {
        const auto k = static_cast<index_t>(i);
        states[i].step(expected[k], gradient[k], t, options);
      }
    }
    CHECK(same_bits(parameter.value, expected));
  }
}

TEST_CASE("Adam's first step has the size of the learning rate", "[optim][adam]") {
  Parameter<double> parameter(Tensor<double>({2}, {1, 1}));
  lora::Adam<double> adam({&parameter}, {.lr = 0.1});
  parameter.grad.accumulate(Tensor<double>({2}, {1e-3, -50}));
  adam.step();
  CHECK(parameter.value[0] == approx(0.9).epsilon(1e-4));
  CHECK(parameter.value[1] == approx(1.1));
}

TEST_CASE("Adam on a factored gradient equals Adam on the dense one", "[optim][adam]") {
  Parameter<float> factored(random_tensor<float>({33, 45}, 1)), dense(factored.value);
  lora::Adam<float> adam_factored({&factored}), adam_dense({&dense});
  for (std::uint64_t seed = 2; seed < 8; seed += 2) {
    const auto dy = random_integers<float>({4, 33}, seed);
    const auto x = random_integers<float>({4, 45}, seed + 1);
    factored.grad.accumulate_outer(dy, x);
    dense.grad.accumulate_outer(dy, x);
    (void)dense.grad.dense();
    REQUIRE(factored.grad.is_factored());
    REQUIRE_FALSE(dense.grad.is_factored());
    adam_factored.step();
    adam_dense.step();
  }
  CHECK(same_bits(factored.value, dense.value));
}

TEST_CASE("Adam does not depend on the number of threads", "[optim][adam][threads]") {
  const ThreadCountGuard guard;
  const auto run = [](int threads) {
    lora::set_num_threads(threads);
    Parameter<float> parameter(random_tensor<float>({107, 203}, 1));
    lora::Adam<float> adam({&parameter});
    for (std::uint64_t seed = 2; seed < 6; seed += 2) {
      parameter.grad.accumulate_outer(random_tensor<float>({10, 107}, seed),
                                      random_tensor<float>({10, 203}, seed + 1));
      adam.step();
    }
    return parameter.value;
  };
  const Tensor<float> one = run(1);
  CHECK(same_bits(run(2), one));
  CHECK(same_bits(run(3), one));
}

TEST_CASE("Adam leaves alone what is frozen or has no gradient", "[optim][adam]") {
  Parameter<float> frozen(random_tensor<float>({5}, 1)), idle(random_tensor<float>({5}, 2));
  const Tensor<float> frozen_before = frozen.value, idle_before = idle.value;
  frozen.grad.accumulate(random_tensor<float>({5}, 3));
  frozen.trainable = false;
  lora::Adam<float> adam({&frozen, &idle});
  adam.step();
  CHECK(same_bits(frozen.value, frozen_before));
  CHECK(same_bits(idle.value, idle_before));
  CHECK(frozen.grad.empty());
}

TEST_CASE("step and zero_grad clear the gradients", "[optim]") {
  Parameter<float> parameter(random_tensor<float>({5}, 1));
  lora::Adam<float> adam({&parameter});
  parameter.grad.accumulate(random_tensor<float>({5}, 3));
  adam.step();
  CHECK(parameter.grad.empty());
  const Tensor<float> before = parameter.value;
  parameter.grad.accumulate(random_tensor<float>({5}, 3));
  adam.zero_grad();
  adam.step();
  CHECK(same_bits(parameter.value, before));
}

TEST_CASE("a gradient accumulated over two batches equals that of one", "[optim]") {
  auto net = small_net<double>(1, 40, 30, 20);
  const auto x = random_tensor<double>({6, 40}, 2);
  const auto dy = random_tensor<double>({6, 20}, 3);
  lora::Saved<double> saved;
  net.forward(x, saved);
  net.backward(dy, saved);
  const Tensor<double> whole = net.parameters()[0]->grad.dense();
  for (auto* parameter : net.parameters()) parameter->grad.clear();
  for (const std::size_t half : {0u, 1u}) {
    const Tensor<double> x_half({3, 40}, x.span().subspan(half * 120, 120));
    const Tensor<double> dy_half({3, 20}, dy.span().subspan(half * 60, 60));
    net.forward(x_half, saved);
    net.backward(dy_half, saved);
  }
  CHECK(max_error(net.parameters()[0]->grad.dense(), whole) < 1e-13);
}
