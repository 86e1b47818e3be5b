// SPDX-License-Identifier: MIT
#include <lora/optim/parameter_group.hpp>

#include <cmath>
#include <span>
#include <vector>

#include "support/models.hpp"

using namespace lora_test;
using lora::Parameter;
using Groups = std::vector<lora::ParameterGroup<double>>;

namespace {

// torch.optim.Adam as its documentation has it, bias corrections and all, element by element.
struct PlainAdam {
  double lr;
  std::vector<double> m = std::vector<double>(6), v = m;

  void step(std::span<double> p, std::span<const double> g, int t) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(0.9, t));
      const double v_hat = v[i] / (1 - std::pow(0.999, t));
      p[i] -= lr * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
  }
};

}  // namespace

TEST_CASE("each group of Adam has its own multiple of the learning rate", "[optim][groups]") {
  Parameter<double> slow(random_tensor<double>({6}, 1)), fast(random_tensor<double>({6}, 2));
  Tensor<double> slow_expected = slow.value, fast_expected = fast.value;
  lora::Adam adam(Groups{{{&slow}}, {{&fast}, 16}}, {.lr = 1e-2});
  PlainAdam slow_adam{1e-2}, fast_adam{16e-2};
  for (int t = 1; t <= 8; ++t) {
    const auto slow_gradient = random_tensor<double>({6}, static_cast<std::uint64_t>(10 + t));
    const auto fast_gradient = random_tensor<double>({6}, static_cast<std::uint64_t>(30 + t));
    if (t == 5) {
      adam.options.lr /= 4;  // the one knob
      slow_adam.lr /= 4;
      fast_adam.lr /= 4;
    }
    slow.grad.accumulate(slow_gradient);
    fast.grad.accumulate(fast_gradient);
    adam.step();
    slow_adam.step(slow_expected.span(), slow_gradient.span(), t);
    fast_adam.step(fast_expected.span(), fast_gradient.span(), t);
    INFO("step " << t);
    CHECK(max_error(slow.value, slow_expected) < 1e-12);
    CHECK(max_error(fast.value, fast_expected) < 1e-12);
  }
}

TEST_CASE("each group of SGD has its own multiple of the learning rate", "[optim][groups]") {
  Parameter<double> slow(Tensor<double>({1}, {8})), fast(Tensor<double>({1}, {8}));
  lora::SGD sgd(Groups{{{&slow}}, {{&fast}, 4}}, {.lr = 0.125, .weight_decay = 0.5});
  slow.grad.accumulate(Tensor<double>({1}, {2}));
  fast.grad.accumulate(Tensor<double>({1}, {2}));
  sgd.step();
  CHECK(slow.value[0] == 8 - 0.125 * (2 + 0.5 * 8));
  CHECK(fast.value[0] == 8 - 4 * 0.125 * (2 + 0.5 * 8));
}

TEST_CASE("each group has its own multiple of the weight decay", "[optim][groups]") {
  Parameter<double> p(Tensor<double>({1}, {8})), doubled(p.value), exempt(p.value);
  const Groups groups{{{&p}}, {{&doubled}, 1, 2}, {{&exempt}, 1, 0}};
  const auto give_gradients = [&](double gradient) {
    for (const auto& group : groups) {
      group.parameters[0]->grad.accumulate(Tensor<double>({1}, {gradient}));
    }
  };
  give_gradients(2);
  lora::SGD(groups, {.lr = 0.125, .weight_decay = 0.5}).step();
  CHECK(p.value[0] == 8 - 0.125 * (2 + 0.5 * 8));
  CHECK(doubled.value[0] == 8 - 0.125 * (2 + 2 * 0.5 * 8));
  CHECK(exempt.value[0] == 8 - 0.125 * 2);

  lora::Adam adam(groups, {.lr = 0.1, .weight_decay = 0.5});
  for (const auto& group : groups) group.parameters[0]->value[0] = 8;
  for (const double gradient : {2.0, 1.0, -3.0}) {
    give_gradients(gradient);
    adam.step();
  }
  for (const auto& group : groups) {
    INFO("ratio " << group.weight_decay_ratio);
    PlainAdam plain{0.1};
    double value = 8;
    int t = 0;
    for (const double gradient : {2.0, 1.0, -3.0}) {
      const double decayed = gradient + group.weight_decay_ratio * 0.5 * value;
      plain.step({&value, 1}, {&decayed, 1}, ++t);
    }
    CHECK(group.parameters[0]->value[0] == approx(value).epsilon(1e-12));
  }
}

TEST_CASE("a ratio of 1 changes no bit", "[optim][groups]") {
  Parameter<float> plain(random_tensor<float>({33}, 1)), grouped(plain.value);
  lora::Adam<float> plain_adam({&plain});
  lora::Adam grouped_adam(std::vector<lora::ParameterGroup<float>>{{{&grouped}}});
  for (std::uint64_t seed = 2; seed < 5; ++seed) {
    for (Parameter<float>* p : {&plain, &grouped}) {
      p->grad.accumulate(random_tensor<float>({33}, seed));
    }
    plain_adam.step();
    grouped_adam.step();
  }
  CHECK(same_bits(grouped.value, plain.value));
}

TEST_CASE("groups that make no sense are refused", "[optim][groups][errors]") {
  Parameter<double> p(Tensor<double>({2, 3})), q(Tensor<double>({4}));
  CHECK_THROWS_AS(lora::Adam(Groups{{{&p}}, {{&q, &p}, 2}}), lora::ValueError);
  CHECK_THROWS_WITH(lora::Adam(Groups{{{&p}}, {{&q, &p}, 2}}),
                    "Optimizer: a parameter of shape (2, 3) is in the groups twice, expected once");
  CHECK_THROWS_AS(lora::SGD(Groups{{{&q, &q}}}), lora::ValueError);
  for (const double ratio : {0.0, -1.0, double{NAN}}) {
    INFO("ratio " << ratio);
    CHECK_THROWS_WITH(lora::Adam(Groups{{{&p}, ratio}}), contains("expected above 0"));
  }
  for (const double ratio : {-1.0, double{NAN}}) {
    INFO("weight_decay_ratio " << ratio);
    CHECK_THROWS_WITH(lora::Adam(Groups{{{&p}, 1, ratio}}), contains("expected at least 0"));
  }
}
