// SPDX-License-Identifier: MIT
#include <lora/nn/recompute.hpp>

#include <memory>
#include <vector>

#include <lora/nn/parallel.hpp>
#include <lora/nn/pass_counter.hpp>
#include <lora/nn/residual.hpp>

#include "support/models.hpp"

using namespace lora_test;
using lora::Linear;
using lora::Recompute;
using lora::ReLU;
using lora::Saved;
using lora::Sequential;

namespace {

/// Drops elements, others in each pass, and counts how often it runs.
template <class T>
class Dropping final : public lora::Module<T> {
 public:
  explicit Dropping(std::shared_ptr<int> runs = std::make_shared<int>()) : runs_(runs) {}

  std::string to_string() const override { return "Dropping()"; }
  std::shared_ptr<lora::Module<T>> clone() const override {
    return std::make_shared<Dropping>(*this);
  }

 private:
  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    ++*runs_;
    passes_.count(saved);
    lora::ops::dropout(x, saved.output, 0.4, {1, 2, saved.random_offset});
    return saved.output;
  }
  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    if (dx) lora::ops::dropout(dy, *dx, 0.4, {1, 2, saved.random_offset});
  }

  mutable lora::detail::PassCounter passes_;
  std::shared_ptr<int> runs_;
};

/// The bytes of all tensors of a pass.
template <class T>
std::size_t held_bytes(const Saved<T>& saved) {
  index_t elements = saved.output.numel() + saved.output_gradient.numel();
  for (const Tensor<T>& tensor : saved.intermediates) elements += tensor.numel();
  std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T);
  for (const Saved<T>& child : saved.children) bytes += held_bytes(child);
  return bytes;
}

/// Layers that draw random numbers, at several depths.
template <class T>
Sequential<T> make_block(std::uint64_t seed) {
  lora::PhiloxGenerator generator(seed);
  lora::Residual<T> residual;
  residual.add("up", Linear<T>(5, 20, generator)).add("relu", ReLU<T>());
  residual.add("dropping", Dropping<T>()).add("down", Linear<T>(20, 5, generator));
  lora::Parallel<T> parallel;
  parallel.add("linear", Linear<T>(5, 5, generator)).add("dropping", Dropping<T>());
  Sequential<T> block;
  block.add("residual", residual).add("parallel", parallel).add("relu", ReLU<T>());
  return block;
}

template <class T>
std::shared_ptr<lora::Module<T>> plain(Sequential<T> block) {
  return std::make_shared<Sequential<T>>(block);
}

template <class T>
std::shared_ptr<lora::Module<T>> recomputed(Sequential<T> block) {
  return std::make_shared<Recompute<T>>(block);
}

/// Three blocks of an initial value each.
template <class T, class Make>
Sequential<T> make_net(const Make& make) {
  Sequential<T> net;
  for (std::uint64_t i = 0; i < 3; ++i) net.add(std::to_string(i), make(make_block<T>(i)));
  return net;
}

}  // namespace

TEST_CASE("Recompute gives the bits that a Sequential gives, at random layers too",
          "[nn][recompute]") {
  auto expected_net = make_net<float>(plain<float>);
  auto net = make_net<float>(recomputed<float>);
  auto nested = make_net<float>([](Sequential<float> block) {
    Recompute<float> outer;
    outer.add("first", recomputed(block)).add("again", ReLU<float>());
    return std::make_shared<Recompute<float>>(outer);
  });
  Saved<float> expected_saved, saved, of_nested;
  for (const index_t batch : {6, 0, 1, 6}) {
    INFO("batch " << batch);
    const auto x = random_tensor<float>({batch, 5}, 7), dy = random_tensor<float>({batch, 5}, 8);
    Tensor<float> expected_dx, dx, nested_dx;
    const Tensor<float> y = expected_net.forward(x, expected_saved);
    expected_net.backward(dy, expected_saved, &expected_dx);
    CHECK(same_bits(net.forward(x, saved), y));
    net.backward(dy, saved, &dx);
    CHECK(same_bits(dx, expected_dx));
    CHECK(same_bits(nested.forward(x, of_nested), y));
    nested.backward(dy, of_nested, &nested_dx);
    CHECK(same_bits(nested_dx, expected_dx));
    const auto expected = expected_net.named_parameters(), found = net.named_parameters();
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i].name == expected[i].name);
      const Tensor<float>& gradient = expected[i].parameter->grad.dense();
      CHECK(same_bits(found[i].parameter->grad.dense(), gradient));
      CHECK(same_bits(nested.parameters()[i]->grad.dense(), gradient));
    }
  }
}

TEST_CASE("other passes before the backward pass do not change what Recompute draws",
          "[nn][recompute]") {
  auto net = make_net<float>(recomputed<float>);
  const auto x = random_tensor<float>({6, 5}, 7), dy = random_tensor<float>({6, 5}, 8);
  const auto copy = net.clone();
  Saved<float> saved, of_copy, another;
  Tensor<float> dx, expected;
  copy->forward(x, of_copy);
  copy->backward(dy, of_copy, &expected);
  const Tensor<float> y = net.forward(x, saved);
  CHECK_FALSE(same_bits(net.forward(x, another), y));
  net.backward(dy, saved, &dx);
  CHECK(same_bits(dx, expected));
  CHECK_FALSE(same_bits(net.forward(x, saved), y));  // a new pass, in which nothing repeats
}

TEST_CASE("adapters with dropout learn in a Recompute what they learn in a Sequential",
          "[nn][recompute]") {
  const auto train = [](Sequential<float> net) {
    lora::adapt(net, {.r = 2, .lora_dropout = 0.3});
    randomize_adapters(net, 5);
    const auto x = random_tensor<float>({6, 5}, 7);
    lora::Adam<float> adam(net.parameters(), {.lr = 0.01});
    Saved<float> saved;
    for (int step = 0; step < 4; ++step) {
      const Tensor<float> dy = net.forward(x, saved);
      if (step % 2) {
        net.backward(dy, saved);
        adam.step();
      } else {
        adam.backward_and_step(net, dy, saved);
      }
    }
    return net.forward(x);
  };
  CHECK(same_bits(train(make_net<float>(recomputed<float>)), train(make_net<float>(plain<float>))));
}

TEST_CASE("Recompute's gradients match finite differences", "[nn][recompute][gradient]") {
  lora::PhiloxGenerator generator(1);
  lora::Residual<double> residual;
  residual.add("up", Linear<double>(3, 7, generator)).add("relu", ReLU<double>());
  residual.add("down", Linear<double>(7, 3, generator));
  Recompute<double> block;
  block.add("residual", residual).add("relu", ReLU<double>());
  Sequential<double> net;
  net.add("in", Linear<double>(3, 3, generator)).add("relu", ReLU<double>());
  net.add("block", block).add("out", Linear<double>(3, 2, generator));
  auto x = random_tensor<double>({4, 3}, 2);
  const auto c = random_tensor<double>({4, 2}, 3);
  Saved<double> saved;
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

TEST_CASE("between forward and backward Recompute holds its output alone", "[nn][recompute]") {
  auto net = make_net<float>(recomputed<float>), keeps = make_net<float>(plain<float>);
  const auto x = random_tensor<float>({8, 5}, 7);
  Saved<float> saved, kept;
  const std::size_t of_blocks = 3 * 8 * 5 * sizeof(float);
  net.forward(x, saved);
  keeps.forward(x, kept);
  CHECK(held_bytes(saved) == of_blocks);
  CHECK(held_bytes(kept) > 5 * of_blocks);
  net.backward(x, saved);
  // Of the backward pass, the gradients between the blocks are left.
  CHECK(held_bytes(saved) == of_blocks + 2 * 8 * 5 * sizeof(float));
}

TEST_CASE("Recompute runs its children again only where somebody needs a gradient",
          "[nn][recompute]") {
  const auto runs = std::make_shared<int>();
  lora::PhiloxGenerator generator(1);
  Recompute<float> net;
  net.add("dropping", Dropping<float>(runs)).add("linear", Linear<float>(5, 5, generator));
  const auto x = random_tensor<float>({2, 5}, 7);
  Saved<float> saved;
  Tensor<float> dx;
  net.forward(x, saved);
  for (auto* parameter : net.parameters()) parameter->trainable = false;
  net.backward(x, saved);
  CHECK(*runs == 1);
  net.backward(x, saved, &dx);
  CHECK(*runs == 2);
  for (auto* parameter : net.parameters()) parameter->trainable = true;
  net.backward(x, saved);
  CHECK(*runs == 3);
  CHECK_FALSE(net.parameters()[0]->grad.empty());
}

TEST_CASE("Recompute may be empty, copies and describes itself", "[nn][recompute]") {
  Recompute<float> net;
  const auto x = random_tensor<float>({2, 5}, 7);
  Saved<float> saved;
  Tensor<float> dx;
  CHECK(same_bits(net.forward(x, saved), x));
  net.backward(x, saved, &dx);
  CHECK(same_bits(dx, x));
  net.add("relu", ReLU<float>());
  CHECK(net.clone()->to_string() == "Recompute(relu: ReLU())");
}
