// SPDX-License-Identifier: MIT
#include <lora/nn/module_to_save.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

const lora::LoRAConfig kNewHead{
    .r = 2, .target_modules = {"linear1"}, .modules_to_save = {"linear2"}};

/// As a layer of a user's own may be.
class NoClone final : public lora::Module<float> {
 public:
  std::string to_string() const override { return "NoClone()"; }

 private:
  const Tensor<float>& do_forward(const Tensor<float>& x, lora::Saved<float>&) const override {
    return x;
  }
  void do_backward(const Tensor<float>& dy, lora::Saved<float>&, Tensor<float>* dx) override {
    if (dx) *dx = dy;
  }
};

}  // namespace

TEST_CASE("modules_to_save trains a copy and keeps the original", "[nn][modules_to_save]") {
  auto net = small_net<float>(1);
  auto base = small_net<float>(1);
  const auto x = random_tensor<float>({3, 7}, 2);
  lora::adapt(net, kNewHead);
  CHECK(same_bits(net.forward(x), base.forward(x)));

  std::vector<std::string> learning;
  for (const auto& named : net.named_parameters()) {
    if (named.parameter->trainable) learning.push_back(named.name);
  }
  CHECK(learning == std::vector<std::string>{"linear1.lora_A.default.weight",
                                             "linear1.lora_B.default.weight",
                                             "linear2.modules_to_save.default.weight",
                                             "linear2.modules_to_save.default.bias"});
  lora::Adam<float> adam(net.parameters(), {.lr = 0.1});
  lora::Saved<float> saved;
  net.forward(x, saved);
  adam.backward_and_step(net, random_tensor<float>({3, 4}, 3), saved);
  CHECK(max_error(net.forward(x), base.forward(x)) > 1e-2);
  {
    const lora::ScopedDisable off(net);
    CHECK(same_bits(net.forward(x), base.forward(x)));
  }
  lora::set_adapters(net, {});
  CHECK(same_bits(net.forward(x), base.forward(x)));
}

TEST_CASE("a copied module's gradients match finite differences",
          "[nn][modules_to_save][gradient]") {
  auto net = small_net<double>(1);
  lora::adapt(net, kNewHead);
  randomize_adapter(net, "default", 3);
  auto x = random_tensor<double>({3, 7}, 4);
  const auto c = random_tensor<double>({3, 4}, 5);
  lora::Saved<double> saved;
  Tensor<double> dx;
  net.forward(x, saved);
  net.backward(c, saved, &dx);
  const auto loss = [&] { return dot(net.forward(x), c); };
  check_gradient(x, dx, loss);
  for (const auto& named : lora::adapter_parameters(net, "default")) {
    INFO(named.name);
    check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
  }
}

TEST_CASE("a whole block can be a module to save", "[nn][modules_to_save]") {
  lora::Sequential<float> net;
  net.add("body", small_net<float>(1)).add("head", small_net<float>(2, 4, 6, 4));
  const auto x = random_tensor<float>({3, 7}, 2);
  const Tensor<float> before = net.forward(x);
  lora::adapt(net, {.r = 1, .modules_to_save = {"head"}});
  CHECK(lora::adapter_parameters(net, "default").back().name ==
        "head.modules_to_save.default.linear2.bias");
  CHECK(same_bits(net.forward(x), before));
  net.eval();
  CHECK_FALSE(net.children()[1].module->training());
}

TEST_CASE("each adapter has its copy", "[nn][modules_to_save]") {
  auto net = small_net<float>(1);
  lora::adapt(net, kNewHead, "one");
  lora::add_adapter(net, "two", kNewHead);
  randomize_adapter(net, "one", 3);
  randomize_adapter(net, "two", 4);
  const auto x = random_tensor<float>({3, 7}, 2);
  const Tensor<float> one = net.forward(x);
  lora::set_adapter(net, "two");
  CHECK_FALSE(same_bits(net.forward(x), one));
  lora::set_adapter(net, "one");
  CHECK(same_bits(net.forward(x), one));
  lora::delete_adapter(net, "two");
  CHECK(same_bits(net.forward(x), one));
}

TEST_CASE("copies of one module exclude each other", "[nn][modules_to_save][errors]") {
  auto net = small_net<float>(1);
  lora::adapt(net, kNewHead, "one");
  lora::add_adapter(net, "two", kNewHead);
  CHECK_THROWS_WITH(lora::set_adapters(net, {"one", "two"}), contains("cannot be active"));
  CHECK_THROWS_WITH(lora::ScopedAdapterIds(net, std::vector<std::int32_t>{0, 1, -1}),
                    contains("cannot use different copies"));
}

TEST_CASE("a module without clone() cannot be saved with an adapter",
          "[nn][modules_to_save][errors]") {
  auto net = small_net<float>(1);
  net.add("own", NoClone());
  CHECK_THROWS_WITH(lora::adapt(net, {.r = 1, .modules_to_save = {"own"}}),
                    contains("NoClone() cannot be copied"));
  CHECK(lora::adapter_names(net).empty());
}
