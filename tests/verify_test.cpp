// SPDX-License-Identifier: MIT
#include <lora/verify.hpp>

#include <cstdlib>
#include <filesystem>

#include "support/adapters.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

/// A layer with a fault of the caller's choice, as a layer of a user's own may have.
class Faulty final : public lora::Module<double> {
 public:
  enum Fault { none, wrong_gradient, trains_frozen };

  explicit Faulty(Fault fault) : scale(Tensor<double>({1}, {1.5})), fault_(fault) {}

  std::string to_string() const override { return "Faulty()"; }
  void own_parameters(ParameterVisitor visit) override { visit("scale", scale); }

  lora::Parameter<double> scale;

 private:
  const Tensor<double>& do_forward(const Tensor<double>& x,
                                   lora::Saved<double>& saved) const override {
    saved.output = x;
    lora::ops::scale(saved.output, scale.value[0]);
    return saved.output;
  }
  void do_backward(const Tensor<double>& dy, lora::Saved<double>& saved,
                   Tensor<double>* dx) override {
    scale.grad.accumulate(Tensor<double>({1}, {dot(dy, *saved.input)}));
    if (fault_ == trains_frozen) scale.value[0] += 0.01;
    if (!dx) return;
    *dx = dy;
    lora::ops::scale(*dx, fault_ == wrong_gradient ? 2.5 : scale.value[0]);
  }

  Fault fault_;
};

lora::Sequential<double> net_with(Faulty::Fault fault) {
  auto net = small_net<double>(1);
  net.add("faulty", Faulty(fault));
  lora::adapt(net, {.r = 2});
  randomize_adapter(net, "default", 2);
  return net;
}

std::string failed(const lora::VerifyReport& report) {
  std::string names;
  for (const auto& check : report.checks) names += check.passed ? "" : check.name + "; ";
  return names;
}

template <class T>
void check_sound(const lora::LoRAConfig& config) {
  auto net = small_net<T>(1, 12, 10, 8);
  lora::adapt(net, config);
  randomize_adapter(net, "default", 2);
  const auto x = random_tensor<T>({5, 12}, 3);
  net.eval();
  const Tensor<T> before = net.forward(x);
  net.train();
  const auto report = lora::verify(net, x);
  INFO(lora::to_string(report));
  CHECK(report.passed());
  CHECK(report.checks.size() == 6);
  CHECK(net.training());
  net.eval();
  CHECK(same_bits(net.forward(x), before));
}

}  // namespace

TEST_CASE("verify passes sound models and leaves them as they are", "[verify]") {
  check_sound<float>({.r = 2, .lora_alpha = 3});
  check_sound<double>({.r = 2, .lora_alpha = 3});
  check_sound<float>({.r = 2, .use_dora = true});
  check_sound<double>({.r = 2, .lora_dropout = 0.5, .lora_bias = true});
  check_sound<float>({.r = 1,
                      .target_modules = {"linear1"},
                      .bias = lora::LoRABias::all,
                      .modules_to_save = {"linear2"}});
}

TEST_CASE("verify checks every adapter of a model", "[verify]") {
  auto net = small_net<float>(1);
  lora::adapt(net, {.r = 2}, "one");
  lora::add_adapter(net, "two", {.r = 1, .use_dora = true});
  randomize_adapter(net, "one", 2);
  randomize_adapter(net, "two", 3);
  lora::set_adapters(net, {"one", "two"});
  const auto report = lora::verify(net, random_tensor<float>({5, 7}, 3));
  INFO(lora::to_string(report));
  CHECK(report.passed());
}

TEST_CASE("verify finds a gradient that is wrong", "[verify]") {
  auto net = net_with(Faulty::wrong_gradient);
  const auto report = lora::verify(net, random_tensor<double>({5, 7}, 3));
  CHECK(failed(report) == "gradients are those of finite differences; ");
  CHECK_THAT(lora::to_string(report), contains("FAIL  gradients") && contains("linear1.lora_A"));
}

TEST_CASE("verify finds a frozen parameter that is trained", "[verify]") {
  auto net = net_with(Faulty::trains_frozen);
  const auto report = lora::verify(net, random_tensor<double>({5, 7}, 3));
  CHECK_THAT(lora::to_string(report),
             contains("FAIL  training changes no frozen parameter: faulty.scale has changed"));
}

TEST_CASE("verify finds a merge that loses too much", "[verify]") {
  auto net = net_with(Faulty::none);
  const auto report =
      lora::verify(net, random_tensor<double>({5, 7}, 3), {.merge_tolerance = 1e-300});
  CHECK(failed(report) == "merged, the model gives the same output; ");
}

TEST_CASE("verify leaves no file behind and says where it could not write", "[verify]") {
  const auto folder = std::filesystem::temp_directory_path() / "lora verify test";
  std::filesystem::create_directory(folder);
  auto net = net_with(Faulty::none);
  const auto x = random_tensor<double>({5, 7}, 3);
  CHECK(lora::verify(net, x, {.folder = folder.string()}).passed());
  CHECK(std::filesystem::is_empty(folder));
  std::filesystem::remove(folder);
  const auto report = lora::verify(net, x, {.folder = folder.string()});
  CHECK_FALSE(report.passed());
  CHECK_THAT(lora::to_string(report), contains("lora verify test"));
}

TEST_CASE("verify wants an adapter that is apart from its weight", "[verify][errors]") {
  auto net = small_net<float>(1);
  const auto x = random_tensor<float>({5, 7}, 3);
  CHECK_THROWS_WITH(lora::verify(net, x), contains("no adapter"));
  lora::adapt(net, {.r = 1});
  lora::merge(net);
  CHECK_THROWS_WITH(lora::verify(net, x), contains("unmerge() it first"));
}
