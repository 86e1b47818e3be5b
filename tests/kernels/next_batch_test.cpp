// SPDX-License-Identifier: MIT
#include <lora/ops/next_batch.hpp>
#include <lora/ops/normalize_rows.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

constexpr double kMean = 0.1307;
constexpr double kStd = 0.3081;

Tensor<std::uint8_t> random_pixels(index_t images, index_t pixels) {
  Tensor<std::uint8_t> x({images, pixels});
  for (index_t i = 0; i < x.numel(); ++i) x[i] = static_cast<std::uint8_t>(i * 2654435761 >> 8);
  return x;
}

Tensor<index_t> random_rows(index_t count, index_t images) {
  Tensor<index_t> rows({count});
  for (index_t i = 0; i < count; ++i) rows[i] = (i * 7919 + 3) % images;
  return rows;
}

}  // namespace

TEST_CASE("normalize_rows gives the CPU's bits", "[kernels][normalize_rows]") {
  for (const index_t pixels : {1, 3, 4, 783, 784, 785, 1300}) {
    for (const index_t count : {0, 1, 10, 70}) {
      INFO(count << " rows of " << pixels);
      const Tensor<std::uint8_t> x = random_pixels(30, pixels);
      const Tensor<index_t> rows = random_rows(count, 30);
      Tensor<float> y, gpu_y;
      lora::ops::normalize_rows(x, rows, y, kMean, kStd);
      lora::ops::normalize_rows(on_gpu(x), on_gpu(rows), gpu_y, kMean, kStd);
      CHECK(same_bits(on_cpu(gpu_y), y));
    }
  }
}

TEST_CASE("a row that does not exist becomes NaN", "[kernels][normalize_rows]") {
  const Tensor<index_t> rows({3}, {30, 2, -1});
  Tensor<float> y;
  lora::ops::normalize_rows(on_gpu(random_pixels(30, 7)), on_gpu(rows), y, kMean, kStd);
  const Tensor<float> result = on_cpu(y);
  for (index_t j = 0; j < 7; ++j) {
    CHECK(std::isnan(result(0, j)));
    CHECK_FALSE(std::isnan(result(1, j)));
    CHECK(std::isnan(result(2, j)));
  }
}

TEST_CASE("next_batch walks through the data as on the CPU", "[kernels][next_batch]") {
  for (const index_t pixels : {5, 784}) {
    for (const index_t batch : {1, 10, 33}) {
      INFO("batches of " << batch << " images of " << pixels);
      const Tensor<std::uint8_t> images = random_pixels(40, pixels);
      Tensor<std::int32_t> labels({40});
      for (index_t i = 0; i < 40; ++i) labels[i] = static_cast<std::int32_t>(i);
      const Tensor<index_t> order = random_rows(75, 40);
      Tensor<index_t> step({1});
      Tensor<float> y({batch, pixels});
      Tensor<std::int32_t> batch_labels, gpu_batch_labels;

      const Tensor<std::uint8_t> gpu_images = on_gpu(images);
      const Tensor<std::int32_t> gpu_labels = on_gpu(labels);
      const Tensor<index_t> gpu_order = on_gpu(order);
      Tensor<index_t> gpu_step = on_gpu(step);
      Tensor<float> gpu_y = on_gpu(y);
      for (int i = 0; i < 9; ++i) {
        lora::ops::next_batch(images, labels, order, step, y, batch_labels, kMean, kStd);
        lora::ops::next_batch(gpu_images, gpu_labels, gpu_order, gpu_step, gpu_y, gpu_batch_labels,
                              kMean, kStd);
        CHECK(same_bits(on_cpu(gpu_step), step));
        CHECK(same_bits(on_cpu(gpu_y), y));
        CHECK(same_bits(on_cpu(gpu_batch_labels), batch_labels));
      }
    }
  }
}
