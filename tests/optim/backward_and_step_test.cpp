// SPDX-License-Identifier: MIT
#include <lora/optim/adam.hpp>
#include <lora/optim/adamw.hpp>
#include <lora/optim/sgd.hpp>

#include <type_traits>
#include <vector>

#include "support/models.hpp"

using namespace lora_test;

namespace {

// Three training steps in two ways must leave the same bits in every parameter and give the same
// gradient of the input.
template <class T, class MakeOptimizer>
void check_same_as_apart(index_t in, index_t hidden, index_t out, index_t batch,
                         const MakeOptimizer& make) {
  INFO("seed 3, sizes " << in << ", " << hidden << ", " << out << ", batch " << batch);
  lora::Sequential<T> apart = small_net<T>(3, in, hidden, out);
  lora::Sequential<T> fused = small_net<T>(3, in, hidden, out);
  auto apart_optimizer = make(apart);
  auto fused_optimizer = make(fused);
  lora::Saved<T> apart_saved, fused_saved;
  const Tensor<T> x = random_tensor<T>({batch, in}, 4);
  for (std::uint64_t step = 0; step < 3; ++step) {
    const Tensor<T> dy = random_tensor<T>({batch, out}, 5 + step);
    Tensor<T> apart_dx, fused_dx;
    apart.forward(x, apart_saved);
    apart.backward(dy, apart_saved, &apart_dx);
    apart_optimizer.step();
    fused.forward(x, fused_saved);
    fused_optimizer.backward_and_step(fused, dy, fused_saved, &fused_dx);
    CHECK(same_bits(fused_dx, apart_dx));
  }
  const auto expected = apart.named_parameters();
  const auto found = fused.named_parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(expected[i].name);
    CHECK(same_bits(found[i].parameter->value, expected[i].parameter->value));
    CHECK(found[i].parameter->grad.empty());
    CHECK(found[i].parameter->update_in_backward == nullptr);
  }
}

const auto with_adam = [](auto& net) {
  return lora::Adam(net.parameters(), {.lr = 1e-2, .weight_decay = 0.01});
};
const auto with_sgd = [](auto& net) {
  return lora::SGD(net.parameters(), {.lr = 1e-2, .weight_decay = 0.01});
};

// Every other parameter, so a weight and its bias and the two of an adapter, in another group.
const auto alternating = [](auto& net) {
  auto parameters = net.parameters();
  std::vector<lora::ParameterGroup<std::decay_t<decltype(parameters[0]->value[0])>>> groups(2);
  groups[1].lr_ratio = 16;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    groups[i % 2].parameters.push_back(parameters[i]);
  }
  return groups;
};
const auto with_adam_groups = [](auto& net) { return lora::Adam(alternating(net), {.lr = 1e-2}); };
const auto with_sgd_groups = [](auto& net) { return lora::SGD(alternating(net), {.lr = 1e-2}); };
const auto with_adamw = [](auto& net) {
  return lora::AdamW(net.parameters(), {.lr = 1e-2, .weight_decay = 0.1});
};
const auto with_adamw_groups = [](auto& net) {
  auto groups = alternating(net);
  groups[1].weight_decay_ratio = 0;
  return lora::AdamW(groups, {.lr = 1e-2, .weight_decay = 0.1});
};
// Of one learning rate, so that only the decay tells a weight from its bias.
const auto with_undecayed_biases = [](auto& net) {
  auto groups = alternating(net);
  groups[1].lr_ratio = 1;
  groups[1].weight_decay_ratio = 0;
  return lora::AdamW(groups, {.lr = 1e-2, .weight_decay = 0.1});
};

}  // namespace

TEMPLATE_TEST_CASE("backward_and_step gives the bits of backward and step", "[optim][fused]", float,
                   double) {
  for (const index_t batch : {1, 4, 10, 11, 23}) {
    check_same_as_apart<TestType>(7, 6, 4, batch, with_adam);
    check_same_as_apart<TestType>(33, 130, 10, batch, with_adam);
    check_same_as_apart<TestType>(101, 37, 13, batch, with_sgd);
    check_same_as_apart<TestType>(33, 37, 10, batch, with_adam_groups);
    check_same_as_apart<TestType>(33, 37, 10, batch, with_sgd_groups);
    check_same_as_apart<TestType>(33, 130, 10, batch, with_adamw);
    check_same_as_apart<TestType>(33, 37, 10, batch, with_adamw_groups);
    check_same_as_apart<TestType>(33, 37, 10, batch, with_undecayed_biases);
  }
}

TEMPLATE_TEST_CASE("backward_and_step updates adapters as backward and step do", "[optim][fused]",
                   float, double) {
  const auto adapted = [] {
    lora::Sequential<TestType> net = small_net<TestType>(3, 33, 21, 10);
    lora::adapt(net, {.r = 2, .lora_alpha = 4});
    randomize_adapters<TestType>(net, 9);
    return net;
  };
  const auto check = [&](const auto& make) {
    lora::Sequential<TestType> apart = adapted(), fused = adapted();
    auto apart_optimizer = make(apart);
    auto fused_optimizer = make(fused);
    lora::Saved<TestType> apart_saved, fused_saved;
    const Tensor<TestType> x = random_tensor<TestType>({10, 33}, 4);
    for (std::uint64_t step = 0; step < 3; ++step) {
      const Tensor<TestType> dy = random_tensor<TestType>({10, 10}, 5 + step);
      // In one step a parameter of each layer is frozen, so that their steps differ afterwards.
      for (auto* net : {&apart, &fused}) lora_layer(*net, 0).adapter().lora_A.trainable = step != 1;
      apart.forward(x, apart_saved);
      apart.backward(dy, apart_saved);
      apart_optimizer.step();
      fused.forward(x, fused_saved);
      fused_optimizer.backward_and_step(fused, dy, fused_saved);
    }
    const auto expected = apart.named_parameters();
    const auto found = fused.named_parameters();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("seed 3, " << expected[i].name);
      CHECK(same_bits(found[i].parameter->value, expected[i].parameter->value));
      CHECK(found[i].parameter->grad.empty());
    }
  };
  check(with_adam);
  check(with_sgd);
  check(with_adam_groups);
  check(with_sgd_groups);
  check(with_adamw);
  check(with_adamw_groups);
}

TEST_CASE("backward_and_step does not depend on the number of threads", "[optim][fused][threads]") {
  const ThreadCountGuard guard;
  const auto train = [](int threads) {
    lora::set_num_threads(threads);
    lora::Sequential<float> net = small_net<float>(3, 200, 150, 10);
    lora::Adam<float> adam(net.parameters());
    lora::Saved<float> saved;
    const Tensor<float> x = random_tensor<float>({10, 200}, 4);
    net.forward(x, saved);
    adam.backward_and_step(net, random_tensor<float>({10, 10}, 5), saved);
    return net.parameters()[0]->value;
  };
  const Tensor<float> one = train(1);
  CHECK(same_bits(train(2), one));
  CHECK(same_bits(train(3), one));
}

TEST_CASE("backward_and_step leaves frozen weights alone", "[optim][fused]") {
  lora::Sequential<float> net = small_net<float>(1);
  net.parameters()[0]->trainable = false;
  const Tensor<float> kept = net.parameters()[0]->value;
  const Tensor<float> kept_other = net.parameters()[2]->value;
  lora::Adam<float> adam(net.parameters());
  lora::Saved<float> saved;
  const Tensor<float> x = random_tensor<float>({3, 7}, 2);
  net.forward(x, saved);
  adam.backward_and_step(net, random_tensor<float>({3, 4}, 3), saved);
  CHECK(same_bits(net.parameters()[0]->value, kept));
  CHECK_FALSE(same_bits(net.parameters()[2]->value, kept_other));
}

TEST_CASE("backward_and_step adds to gradients that were there", "[optim][fused]") {
  lora::Sequential<float> apart = small_net<float>(1);
  lora::Sequential<float> fused = small_net<float>(1);
  const Tensor<float> x = random_tensor<float>({3, 7}, 2);
  const Tensor<float> dy = random_tensor<float>({3, 4}, 3);
  const auto run = [&](lora::Sequential<float>& net, bool in_one) {
    lora::SGD<float> sgd(net.parameters(), {.lr = 0.1});
    lora::Saved<float> saved;
    net.forward(x, saved);
    net.backward(dy, saved);  // accumulated, not applied
    if (in_one) {
      sgd.backward_and_step(net, dy, saved);
    } else {
      net.backward(dy, saved);
      sgd.step();
    }
    return net.parameters()[0]->value;
  };
  CHECK(same_bits(run(fused, true), run(apart, false)));
}

TEST_CASE("backward_and_step refuses a weight that is used twice", "[optim][fused][errors]") {
  lora::PhiloxGenerator generator(1);
  const auto shared = std::make_shared<lora::Linear<float>>(4, 4, generator);
  lora::Sequential<float> net;
  net.add("first", shared);
  net.add("second", shared);
  lora::Adam<float> adam({&shared->weight, &shared->bias});
  lora::Saved<float> saved;
  const Tensor<float> x = random_tensor<float>({3, 4}, 2);
  net.forward(x, saved);
  CHECK_THROWS_WITH(adam.backward_and_step(net, x, saved),
                    contains("a weight of shape (4, 4) is used twice"));
  CHECK(shared->weight.update_in_backward == nullptr);
}

TEST_CASE("linear_backward_adam names the op and the shapes that do not fit",
          "[ops][adam][errors]") {
  Tensor<float> w({4, 3});
  lora::AdamState<float> state{Tensor<float>({4, 3}), Tensor<float>({4, 2})};
  const Tensor<float> dy({2, 4}), x({2, 3});
  const auto schedule = lora::detail::adam_schedule({}, 1);
  CHECK_THROWS_WITH(
      lora::ops::linear_backward_adam<float>(dy, x, w, state, nullptr, nullptr, nullptr, schedule),
      contains("linear_backward_adam: v is (4, 2)") && contains("value is (4, 3)"));
  CHECK_THROWS_WITH(lora::ops::linear_backward_sgd<float>(x, dy, w, nullptr, {}),
                    contains("linear_backward_sgd: dy is (2, 3)"));
}
