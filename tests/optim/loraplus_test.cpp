// SPDX-License-Identifier: MIT
#include <lora/optim/loraplus.hpp>

#include <string>
#include <utility>
#include <vector>

#include "support/models.hpp"

using namespace lora_test;

namespace {

/// A module that is nothing but parameters of the given names.
class Names final : public lora::Module<double> {
 public:
  explicit Names(std::vector<std::string> names) : names_(std::move(names)), all_(names_.size()) {}

  std::string to_string() const override { return "Names"; }
  void own_parameters(ParameterVisitor visit) override {
    for (std::size_t i = 0; i < names_.size(); ++i) visit(names_[i].c_str(), all_[i]);
  }

  /// Those of the parameters, by name.
  std::vector<std::string> names_of(const lora::ParameterGroup<double>& group) const {
    std::vector<std::string> names;
    for (const auto* parameter : group.parameters) {
      names.push_back(names_[static_cast<std::size_t>(parameter - all_.data())]);
    }
    return names;
  }

 private:
  const Tensor<double>& do_forward(const Tensor<double>& x, lora::Saved<double>&) const override {
    return x;
  }
  void do_backward(const Tensor<double>&, lora::Saved<double>&, Tensor<double>*) override {}

  std::vector<std::string> names_;
  std::vector<lora::Parameter<double>> all_;
};

}  // namespace

TEST_CASE("loraplus_groups knows every lora_B by its name", "[optim][loraplus]") {
  const std::vector<std::string> b{"lora_B.weight", "lora_B.default.weight",
                                   "linear1.lora_B.weight", "linear1.lora_B.default.weight",
                                   "linear1.lora_B.default.bias"};
  const std::vector<std::string> others{
      "linear1.weight", "linear1.bias", "linear1.lora_A.weight", "linear1.lora_A.default.weight",
      "lora_A.weight",  "lora_B",       "my_lora_B.weight",      "lora_Bx.weight"};
  std::vector<std::string> all = others;
  all.insert(all.begin() + 3, b.begin(), b.end());
  Names module(all);
  const auto groups = lora::loraplus_groups(module, 16);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].lr_ratio == 1);
  CHECK(module.names_of(groups[0]) == others);
  CHECK(groups[1].lr_ratio == 16);
  CHECK(module.names_of(groups[1]) == b);
}

TEST_CASE("loraplus_groups refuses a ratio that is not above 0", "[optim][loraplus][errors]") {
  Names module({"lora_B.weight"});
  CHECK_THROWS_AS(lora::loraplus_groups(module, 0), lora::ValueError);
  CHECK_THROWS_WITH(
      lora::loraplus_groups(module, -2),
      contains("loraplus_groups: loraplus_lr_ratio is -2") && contains("expected above 0"));
}

TEST_CASE("LoRA+ moves lora_B by its multiple in the first step, and nothing else",
          "[optim][loraplus]") {
  const auto changes = [](double ratio) {
    lora::Sequential<double> net = small_net<double>(3);
    lora::adapt(net, {.r = 2});
    randomize_adapters<double>(net, 9);
    auto& adapter = lora_layer(net, 0).adapter();
    Tensor<double> a = adapter.lora_A.value, b = adapter.lora_B.value;
    lora::Adam adam(lora::loraplus_groups(net, ratio), {.lr = 1e-3});
    lora::Saved<double> saved;
    const Tensor<double> x = random_tensor<double>({5, 7}, 4);
    net.forward(x, saved);
    adam.backward_and_step(net, random_tensor<double>({5, 4}, 5), saved);
    for (index_t i = 0; i < a.numel(); ++i) a[i] -= adapter.lora_A.value[i];
    for (index_t i = 0; i < b.numel(); ++i) b[i] -= adapter.lora_B.value[i];
    return std::pair(a, b);
  };
  const auto [a, b] = changes(1);
  const auto [a_plus, b_plus] = changes(16);
  CHECK(same_bits(a_plus, a));
  for (index_t i = 0; i < b.numel(); ++i) {
    INFO("seed 3, element " << i);
    CHECK(b[i] != 0);
    CHECK(b_plus[i] == approx(16 * b[i]).epsilon(1e-9));
  }
}
