// SPDX-License-Identifier: MIT
#include <lora/data/synthetic_digits.hpp>

#include <array>
#include <cstring>

#include <lora/data/data_loader.hpp>
#include <lora/detail/sha256.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::synthetic_digits;

namespace {

bool same(const lora::LabeledImages& x, const lora::LabeledImages& y) {
  return same_bits(x.images, y.images) && same_bits(x.labels, y.labels);
}

}  // namespace

TEST_CASE("synthetic digits have MNIST's form", "[synthetic_digits]") {
  const lora::Mnist set = synthetic_digits(0, 500, 100);
  CHECK(set.name == "synthetic digits");
  CHECK(set.train.images.shape() == Shape{500, 784});
  CHECK(set.test.labels.shape() == Shape{100});
  std::array<int, 10> counts{};
  for (const std::int32_t label : set.train.labels.span()) {
    REQUIRE((label >= 0 && label <= 9));
    ++counts[static_cast<std::size_t>(label)];
  }
  for (const int count : counts) CHECK(count > 20);
}

TEST_CASE("every synthetic digit has ink on a mostly empty page", "[synthetic_digits]") {
  const lora::Mnist set = synthetic_digits(7, 300, 0);
  for (index_t i = 0; i < 300; ++i) {
    int inked = 0;
    for (index_t k = 0; k < 784; ++k) inked += set.train.images(i, k) > 100;
    INFO("seed 7, image " << i << ", digit " << set.train.labels[i]);
    CHECK(inked > 12);
    CHECK(inked < 350);
  }
}

TEST_CASE("synthetic digits depend on the seed alone", "[synthetic_digits][threads]") {
  const ThreadCountGuard guard;
  lora::set_num_threads(1);
  const lora::Mnist one = synthetic_digits(3, 200, 50);
  lora::set_num_threads(3);
  const lora::Mnist three = synthetic_digits(3, 200, 50);
  CHECK(same(one.train, three.train));
  CHECK(same(one.test, three.test));
  CHECK_FALSE(same(one.train, synthetic_digits(4, 200, 50).train));
  CHECK(same(one.test, synthetic_digits(3, 0, 50).test));
  CHECK_FALSE(same(one.test, lora::take_first(one.train, 50)));
}

TEST_CASE("a small network learns the synthetic digits, and not at once", "[synthetic_digits]") {
  const lora::Mnist set = synthetic_digits(0, 4000, 500);
  lora::PhiloxGenerator generator(0);
  lora::Sequential<float> net;
  net.add("linear1", lora::Linear<float>(784, 64, generator));
  net.add("relu1", lora::ReLU<float>());
  net.add("linear2", lora::Linear<float>(64, 10, generator));
  const auto accuracy = [&] {
    Tensor<std::int32_t> predictions;
    int right = 0;
    lora::DataLoader<float> loader(set.test, 100);
    for (const auto& [images, labels] : loader) {
      lora::ops::argmax(net.forward(images), predictions);
      for (index_t i = 0; i < labels.numel(); ++i) right += predictions[i] == labels[i];
    }
    return right / 500.0;
  };
  CHECK(accuracy() < 0.3);
  lora::Adam<float> adam(net.parameters());
  lora::Saved<float> saved;
  Tensor<float> dlogits;
  lora::DataLoader<float> loader(set.train, 10);
  for (const auto& [images, labels] : loader) {
    lora::softmax_cross_entropy(net.forward(images, saved), labels, dlogits);
    net.backward(dlogits, saved);
    adam.step();
  }
  CHECK(accuracy() > 0.7);
  CHECK(accuracy() < 0.995);
}
