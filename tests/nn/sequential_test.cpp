// SPDX-License-Identifier: MIT
#include <lora/nn/sequential.hpp>

#include <memory>

#include "support/models.hpp"

using namespace lora_test;

TEST_CASE("Sequential names its parameters by path", "[nn][sequential]") {
  lora::Sequential<float> outer;
  outer.add("body", small_net<float>(1));
  std::string names;
  for (const auto& named : outer.named_parameters()) names += named.name + " ";
  CHECK(names == "body.linear1.weight body.linear1.bias body.linear2.weight body.linear2.bias ");
}

TEST_CASE("Sequential's gradients match finite differences", "[nn][sequential][gradient]") {
  auto net = small_net<double>(2);
  auto x = random_tensor<double>({3, 7}, 4);
  const auto c = random_tensor<double>({3, 4}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  net.forward(x, saved);
  net.backward(c, saved, &dx);
  const auto loss = [&] { return dot(net.forward(x), c); };
  check_gradient(x, dx, loss);
  for (const auto& named : net.named_parameters()) {
    INFO(named.name);
    check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
  }
}

TEST_CASE("Sequential of nothing passes its input on", "[nn][sequential]") {
  lora::Sequential<float> net;
  const auto x = random_tensor<float>({2, 3}, 1);
  CHECK(same_bits(net.forward(x), x));
  lora::Saved<float> saved;
  Tensor<float> dx;
  net.forward(x, saved);
  net.backward(x, saved, &dx);
  CHECK(same_bits(dx, x));
}

TEST_CASE("Sequential goes back no further than something learns", "[nn][sequential]") {
  auto net = small_net<float>(2);
  for (const auto& named : net.named_parameters()) {
    named.parameter->trainable = named.name.starts_with("linear2");
  }
  const auto x = random_tensor<float>({3, 7}, 4);
  lora::Saved<float> saved;
  net.backward(net.forward(x, saved), saved);
  CHECK_FALSE(net.named_parameters()[2].parameter->grad.empty());
  CHECK(saved.children[1].output_gradient.empty());
}

TEST_CASE("Sequential can share a layer with others", "[nn][sequential]") {
  lora::PhiloxGenerator generator(1);
  const auto layer = std::make_shared<lora::Linear<float>>(3, 3, generator);
  lora::Sequential<float> net;
  net.add("first", layer).add("second", layer);
  const auto x = random_tensor<float>({2, 3}, 1);
  CHECK(same_bits(net.forward(x), layer->forward(layer->forward(x))));
}

namespace {

// A layer that does not fuse a ReLU, so that the ReLU beside it must be run.
class Doubling final : public lora::Module<double> {
 public:
  std::string to_string() const override { return "Doubling()"; }

 private:
  const Tensor<double>& do_forward(const Tensor<double>& x,
                                   lora::Saved<double>& saved) const override {
    saved.output = x;
    lora::ops::scale(saved.output, 2);
    return saved.output;
  }
  void do_backward(const Tensor<double>& dy, lora::Saved<double>&, Tensor<double>* dx) override {
    if (!dx) return;
    *dx = dy;
    lora::ops::scale(*dx, 2);
  }
};

}  // namespace

TEST_CASE("Sequential's ReLUs are right wherever they stand", "[nn][sequential][relu][gradient]") {
  lora::PhiloxGenerator generator(1);
  const auto make = [&](const std::string& layout) {
    lora::Sequential<double> net;
    for (const char kind : layout) {
      const std::string name = "child" + std::to_string(net.children().size());
      if (kind == 'L') net.add(name, lora::Linear<double>(5, 5, generator));
      if (kind == 'R') net.add(name, lora::ReLU<double>());
      if (kind == 'D') net.add(name, Doubling());
    }
    return net;
  };
  for (const char* layout : {"R", "RL", "LR", "LRL", "LRD", "DRL", "LRR", "RRL", "LRRL", "DRD"}) {
    INFO("layout " << layout);
    lora::Sequential<double> net = make(layout);
    auto x = random_tensor<double>({3, 5}, 7);
    const auto c = random_tensor<double>({3, 5}, 8);
    Tensor<double> expected = x;  // each child on its own
    for (const auto& child : net.children()) expected = child.module->forward(expected);
    lora::Saved<double> saved;
    CHECK(same_bits(net.forward(x, saved), expected));
    Tensor<double> dx;
    net.backward(c, saved, &dx);
    const auto loss = [&] { return dot(net.forward(x), c); };
    check_gradient(x, dx, loss);
    for (const auto& named : net.named_parameters()) {
      check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
    }
  }
}

TEST_CASE("Sequential describes itself", "[nn][sequential]") {
  CHECK(small_net<float>(1).to_string() ==
        "Sequential(linear1: Linear(7, 6), relu1: ReLU(), linear2: Linear(6, 4))");
}

TEST_CASE("Sequential refuses names that make no path", "[nn][sequential][errors]") {
  lora::Sequential<float> net;
  net.add("relu", lora::ReLU<float>());
  CHECK_THROWS_WITH(net.add("relu", lora::ReLU<float>()), contains("already is a child named"));
  CHECK_THROWS_AS(net.add("", lora::ReLU<float>()), lora::ValueError);
  CHECK_THROWS_AS(net.add("a.b", lora::ReLU<float>()), lora::ValueError);
}
