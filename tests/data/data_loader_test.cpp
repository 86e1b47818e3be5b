// SPDX-License-Identifier: MIT
#include <lora/data/data_loader.hpp>

#include <cstdint>

#include "support/tensors.hpp"

using namespace lora_test;

namespace {

// Seven images of one pixel each, whose byte is ten times the label.
lora::LabeledImages seven() {
  return {Tensor<std::uint8_t>({7, 1}, {0, 10, 20, 30, 40, 50, 60}),
          Tensor<std::int32_t>({7}, {0, 1, 2, 3, 4, 5, 6})};
}

}  // namespace

TEST_CASE("DataLoader goes through the set in batches", "[data_loader]") {
  const auto data = seven();
  lora::DataLoader<double> loader(data, 3, {.mean = 0, .std = 1});
  CHECK(loader.size() == 3);
  index_t seen = 0;
  for (const auto& [images, labels] : loader) {
    CHECK(images.shape() == Shape{labels.numel(), 1});
    for (index_t i = 0; i < labels.numel(); ++i, ++seen) {
      CHECK(labels[i] == seen);
      CHECK(images[i] == approx(10.0 * static_cast<double>(seen) / 255));
    }
  }
  CHECK(seen == 7);
}

TEST_CASE("DataLoader keeps images and labels together when shuffled", "[data_loader]") {
  const auto data = seven();
  lora::DataLoader<float> loader(data, 7, {.mean = 0, .std = 1});
  lora::TorchGenerator generator(1);
  loader.shuffle(generator);
  const auto& [images, labels] = loader.batch(0);
  std::int32_t sum = 0;
  for (index_t i = 0; i < 7; ++i) {
    CHECK(images[i] * 255 == approx(10.0 * labels[i]));
    CHECK(labels[i] == loader.order()[static_cast<std::size_t>(i)]);
    sum += labels[i];
  }
  CHECK(sum == 21);
}

TEST_CASE("DataLoader of nothing has no batches", "[data_loader]") {
  const lora::LabeledImages none{Tensor<std::uint8_t>({0, 4}), Tensor<std::int32_t>({0})};
  lora::DataLoader<float> loader(none, 3);
  CHECK(loader.size() == 0);
  CHECK(loader.begin() == loader.end());
}

TEST_CASE("DataLoader refuses batches of nothing", "[data_loader][errors]") {
  const auto data = seven();
  CHECK_THROWS_WITH(lora::DataLoader<float>(data, 0), contains("batch size 0"));
}

TEST_CASE("filter_digits keeps the order", "[labeled_images]") {
  const int digits[] = {5, 2};
  const auto some = lora::filter_digits(seven(), digits);
  CHECK(same_bits(some.labels, Tensor<std::int32_t>({2}, {2, 5})));
  CHECK(same_bits(some.images, Tensor<std::uint8_t>({2, 1}, {20, 50})));
}

TEST_CASE("take_first takes no more than there is", "[labeled_images]") {
  CHECK(lora::take_first(seven(), 2).size() == 2);
  CHECK(lora::take_first(seven(), 99).size() == 7);
}
