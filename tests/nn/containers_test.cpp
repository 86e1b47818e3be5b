// SPDX-License-Identifier: MIT
#include <lora/nn/parallel.hpp>
#include <lora/nn/residual.hpp>

#include <memory>
#include <string>
#include <vector>

#include "support/models.hpp"

using namespace lora_test;
using lora::Linear;
using lora::Parallel;
using lora::ParallelCombine;
using lora::ReLU;
using lora::Residual;
using lora::Sequential;

namespace {

/// The gradients of all that is trainable in `net`, and of its input.
void check_gradients(lora::Module<double>& net, Tensor<double> x) {
  for (auto* parameter : net.parameters()) parameter->grad.clear();
  lora::Saved<double> saved;
  const auto c = random_tensor<double>(net.forward(x, saved).shape(), 9);
  Tensor<double> dx;
  net.backward(c, saved, &dx);
  const auto loss = [&] { return dot(net.forward(x), c); };
  check_gradient(x, dx, loss);
  std::vector<Tensor<double>> gradients;
  for (const auto& named : net.named_parameters()) {
    INFO(named.name);
    REQUIRE(named.parameter->grad.empty() != named.parameter->trainable);
    if (!named.parameter->trainable) continue;
    gradients.push_back(named.parameter->grad.dense());
    check_gradient(named.parameter->value, gradients.back(), loss);
    named.parameter->grad.clear();
  }
  // Without the gradient of the input the others are the same.
  net.forward(x, saved);
  net.backward(c, saved);
  std::size_t i = 0;
  for (auto* parameter : net.parameters()) {
    if (parameter->trainable) CHECK(same_bits(parameter->grad.dense(), gradients[i++]));
  }
}

/// A layer that counts its backward passes.
class Spy final : public lora::Module<double> {
 public:
  explicit Spy(int* passes) : passes_(passes) {}
  std::string to_string() const override { return "Spy()"; }

 private:
  const Tensor<double>& do_forward(const Tensor<double>& x,
                                   lora::Saved<double>& saved) const override {
    saved.output = x;
    return saved.output;
  }
  void do_backward(const Tensor<double>& dy, lora::Saved<double>&, Tensor<double>* dx) override {
    ++*passes_;
    if (dx) *dx = dy;
  }

  int* passes_;
};

}  // namespace

TEST_CASE("Residual adds its input to what its children give", "[nn][residual]") {
  lora::PhiloxGenerator generator(1);
  const auto linear = std::make_shared<Linear<float>>(4, 4, generator);
  Residual<float> net;
  net.add("linear", linear).add("relu", ReLU<float>());
  const auto x = random_tensor<float>({3, 4}, 2);
  Tensor<float> expected;
  lora::ops::relu(linear->forward(x), expected);
  lora::ops::add(x, expected);
  CHECK(same_bits(net.forward(x), expected));
  CHECK(net.to_string() == "Residual(linear: Linear(4, 4), relu: ReLU())");
  CHECK(net.named_parameters()[0].name == "linear.weight");
}

TEST_CASE("Residual's and Parallel's gradients match finite differences, however they nest",
          "[nn][residual][parallel][gradient]") {
  lora::PhiloxGenerator generator(1);
  const auto linear = [&](index_t in, index_t out) { return Linear<double>(in, out, generator); };
  for (const index_t batch : {0, 1, 3}) {
    INFO("batch " << batch);
    const auto x = random_tensor<double>({batch, 4}, 2);
    Residual<double> nothing;
    check_gradients(nothing, x);

    Residual<double> block;
    block.add("relu", ReLU<double>()).add("up", linear(4, 6)).add("relu2", ReLU<double>());
    block.add("down", linear(6, 4));
    check_gradients(block, x);

    for (const auto combine : {ParallelCombine::sum, ParallelCombine::concatenate}) {
      Parallel<double> both(combine);
      both.add("block", block).add("relu", ReLU<double>()).add("linear", linear(4, 4));
      Sequential<double> net;
      net.add("in", linear(4, 4)).add("both", both).add("relu", ReLU<double>());
      net.add("out", linear(combine == ParallelCombine::sum ? 4 : 12, 4));
      Residual<double> outer;
      outer.add("net", net);
      check_gradients(outer, x);
      for (const auto& named : outer.named_parameters()) {
        named.parameter->trainable = named.name.find("up") != std::string::npos;
      }
      check_gradients(outer, x);
      for (auto* parameter : outer.parameters()) parameter->trainable = true;
    }
  }
}

TEST_CASE("a ReLU at the border of a container is its own, not its neighbour's",
          "[nn][residual][parallel][relu]") {
  lora::PhiloxGenerator generator(1);
  const auto first = std::make_shared<Linear<float>>(4, 4, generator);
  const auto last = std::make_shared<Linear<float>>(4, 4, generator);
  const auto x = random_tensor<float>({5, 4}, 2);
  Tensor<float> hidden = first->forward(x), relu;
  lora::ops::relu(hidden, relu);
  lora::ops::add(relu, hidden);

  Residual<float> residual;
  residual.add("relu", ReLU<float>());
  Sequential<float> net;
  net.add("first", first).add("residual", residual).add("last", last);
  CHECK(same_bits(net.forward(x), last->forward(hidden)));

  Parallel<float> parallel;
  parallel.add("same", Sequential<float>()).add("relu", ReLU<float>());
  Sequential<float> other;
  other.add("first", first).add("parallel", parallel).add("last", last);
  CHECK(same_bits(other.forward(x), last->forward(hidden)));
}

TEST_CASE("Parallel sums its children's outputs, or puts them side by side", "[nn][parallel]") {
  lora::PhiloxGenerator generator(1);
  const auto narrow = std::make_shared<Linear<float>>(3, 2, generator);
  const auto wide = std::make_shared<Linear<float>>(3, 5, generator);
  const auto x = random_tensor<float>({4, 3}, 2);
  Parallel<float> beside(ParallelCombine::concatenate);
  beside.add("narrow", narrow).add("wide", wide);
  const Tensor<float> y = beside.forward(x), left = narrow->forward(x), right = wide->forward(x);
  REQUIRE(y.shape() == Shape{4, 7});
  for (index_t i = 0; i < 4; ++i) {
    for (index_t j = 0; j < 7; ++j) CHECK(y(i, j) == (j < 2 ? left(i, j) : right(i, j - 2)));
  }
  CHECK(beside.to_string() == "Parallel(concatenate; narrow: Linear(3, 2), wide: Linear(3, 5))");

  Parallel<float> sum;
  sum.add("narrow", narrow).add("again", narrow);
  Tensor<float> twice = left;
  lora::ops::add(left, twice);
  CHECK(same_bits(sum.forward(x), twice));
  CHECK(sum.named_parameters().size() == 2);
  CHECK(sum.to_string() == "Parallel(sum; narrow: Linear(3, 2), again: Linear(3, 2))");
}

TEST_CASE("containers compute no gradient that nobody needs", "[nn][residual][parallel]") {
  lora::PhiloxGenerator generator(1);
  for (const auto combine : {ParallelCombine::sum, ParallelCombine::concatenate}) {
    int passes = 0;
    Parallel<double> parallel(combine);
    parallel.add("spy", Spy(&passes)).add("linear", Linear<double>(3, 3, generator));
    Residual<double> residual;
    residual.add("spy", Spy(&passes));
    Sequential<double> net;
    net.add("parallel", parallel);
    const auto x = random_tensor<double>({2, 3}, 2);
    lora::Saved<double> saved, of_residual;
    const Tensor<double> dy = net.forward(x, saved);
    net.backward(dy, saved);
    CHECK(passes == 0);
    CHECK_FALSE(net.parameters()[0]->grad.empty());
    residual.backward(residual.forward(x, of_residual), of_residual);
    CHECK(passes == 0);
    Tensor<double> dx;
    net.backward(dy, saved, &dx);
    residual.backward(x, of_residual, &dx);
    CHECK(passes == 2);
  }
}

TEST_CASE("a container's clone shares nothing with it", "[nn][residual][parallel]") {
  lora::PhiloxGenerator generator(1);
  Residual<float> inner;
  inner.add("linear", Linear<float>(3, 3, generator));
  Parallel<float> net(ParallelCombine::concatenate);
  net.add("inner", inner).add("relu", ReLU<float>());
  net.eval();
  const auto copy = net.clone();
  const auto x = random_tensor<float>({2, 3}, 2);
  const Tensor<float> y = net.forward(x);
  CHECK(same_bits(copy->forward(x), y));
  CHECK(copy->to_string() == net.to_string());
  CHECK_FALSE(copy->training());
  CHECK_FALSE(copy->children()[0].module->training());
  copy->parameters()[0]->value[0] += 1;
  CHECK(same_bits(net.forward(x), y));
  CHECK_FALSE(same_bits(copy->forward(x), y));
}

TEST_CASE("layers in containers can be adapted, and keep their paths", "[nn][residual][parallel]") {
  lora::PhiloxGenerator generator(1);
  Residual<float> block;
  block.add("up", Linear<float>(3, 8, generator)).add("relu", ReLU<float>());
  block.add("down", Linear<float>(8, 3, generator));
  Sequential<float> blocks;
  blocks.add("0", block);
  Parallel<float> net;
  net.add("blocks", blocks);
  const auto x = random_tensor<float>({2, 3}, 2);
  const Tensor<float> y = net.forward(x);
  CHECK(lora::adapt(net, {.r = 2}) == std::vector<std::string>{"blocks.0.up", "blocks.0.down"});
  CHECK(max_error(net.forward(x), y) < 1e-6);
}

TEST_CASE("containers refuse what does not fit together", "[nn][residual][parallel][errors]") {
  lora::PhiloxGenerator generator(1);
  const auto x = random_tensor<float>({2, 3}, 2);
  Residual<float> residual;
  residual.add("linear", Linear<float>(3, 2, generator));
  CHECK_THROWS_WITH(residual.forward(x),
                    "Residual: x is (2, 3) on cpu, f(x) is (2, 2) on cpu: the "
                    "shapes must be equal");
  CHECK_THROWS_WITH(Parallel<float>().forward(x), "Parallel: there are no children");
  Parallel<float> sum;
  sum.add("a", Linear<float>(3, 2, generator)).add("b", Linear<float>(3, 4, generator));
  CHECK_THROWS_AS(sum.forward(x), lora::ShapeError);
  CHECK_THROWS_WITH(sum.add("a.b", ReLU<float>()), contains("Parallel::add: \"a.b\" is no name"));
  CHECK_THROWS_WITH(residual.add("linear", ReLU<float>()),
                    "Residual::add: there already is a child named \"linear\"");
}
