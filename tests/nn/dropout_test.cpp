// SPDX-License-Identifier: MIT
#include <lora/nn/dropout.hpp>

#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("Dropout has another mask in each pass, and the same ones from the same seed",
          "[nn][dropout]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({100, 130}, 1);
  const auto run = [&](const lora::Dropout<float>& layer, int threads) {
    lora::set_num_threads(threads);
    lora::Saved<float> saved;
    std::vector<Tensor<float>> passes;
    for (int i = 0; i < 3; ++i) passes.push_back(layer.forward(x, saved));
    return passes;
  };
  const auto first = run(lora::Dropout<float>(0.3, 7), 1);
  const auto again = run(lora::Dropout<float>(0.3, 7), 3);
  const auto other_seed = run(lora::Dropout<float>(0.3, 8), 1);
  const auto other_stream = run(lora::Dropout<float>(0.3, 7, 1), 1);
  CHECK_FALSE(same_bits(first[0], first[1]));
  for (std::size_t i = 0; i < 3; ++i) {
    INFO("pass " << i);
    CHECK(same_bits(again[i], first[i]));
    CHECK_FALSE(same_bits(other_seed[i], first[i]));
    CHECK_FALSE(same_bits(other_stream[i], first[i]));
    Tensor<float> expected;
    lora::ops::dropout(x, expected, 0.3, {7, 0, i});
    CHECK(same_bits(first[i], expected));
  }
}

TEST_CASE("a pass of Dropout that repeats has the mask of the one before", "[nn][dropout]") {
  const lora::Dropout<float> layer(0.5, 1);
  const auto x = random_tensor<float>({10, 10}, 1);
  lora::Saved<float> saved;
  const Tensor<float> first = layer.forward(x, saved);
  saved.repeats = true;
  CHECK(same_bits(layer.forward(x, saved), first));
  saved.repeats = false;
  CHECK_FALSE(same_bits(layer.forward(x, saved), first));
}

TEST_CASE("Dropout's gradient goes through the mask of its pass", "[nn][dropout][gradient]") {
  lora::Dropout<double> layer(0.4, 1);
  auto x = random_tensor<double>({4, 5}, 1);
  const auto c = random_tensor<double>({4, 5}, 2);
  lora::Saved<double> saved, later;
  Tensor<double> dx;
  layer.forward(x, saved);
  layer.forward(x, later);
  layer.backward(c, saved, &dx);
  layer.backward(c, saved);
  saved.repeats = true;
  check_gradient(x, dx, [&] { return dot(layer.forward(x, saved), c); });
}

TEST_CASE("Dropout in eval() and with p = 0 is its input itself", "[nn][dropout]") {
  const auto x = random_tensor<float>({4, 5}, 1), dy = random_tensor<float>({4, 5}, 2);
  lora::Dropout<float> layer(0.5, 1), none(0, 1);
  lora::Saved<float> saved, none_saved;
  Tensor<float> dx;
  layer.forward(x, saved);
  layer.eval();
  CHECK(&layer.forward(x, saved) == &x);
  // What the pass did counts, not what the layer has been told since.
  layer.train();
  layer.backward(dy, saved, &dx);
  CHECK(same_bits(dx, dy));
  CHECK(&none.forward(x, none_saved) == &x);
  none.backward(dy, none_saved, &dx);
  CHECK(same_bits(dx, dy));

  const Tensor<float> y = layer.forward(x, saved);
  CHECK_FALSE(same_bits(y, x));
  layer.eval();
  layer.backward(x, saved, &dx);
  CHECK(same_bits(dx, y));
}

TEST_CASE("a copy of Dropout goes on where it was made", "[nn][dropout]") {
  const auto x = random_tensor<float>({10, 10}, 1);
  lora::Dropout<float> layer(0.5, 3);
  layer.forward(x);
  const auto copy = layer.clone();
  CHECK(copy->to_string() == "Dropout(p=0.5)");
  const Tensor<float> second = layer.forward(x);
  CHECK(same_bits(copy->forward(x), second));
  CHECK_FALSE(same_bits(layer.forward(x), second));
}

TEST_CASE("Dropout's name, and the shares it refuses", "[nn][dropout][errors]") {
  CHECK(lora::Dropout<float>(0.1, 0).to_string() == "Dropout(p=0.1)");
  for (const double p : {-0.1, 1.0, 1.5}) {
    CHECK_THROWS_AS(lora::Dropout<float>(p, 0), lora::ValueError);
  }
  CHECK_THROWS_WITH(lora::Dropout<float>(1.5, 0),
                    contains("Dropout: p is 1.5") && contains("expected 0 <= p < 1"));
}
