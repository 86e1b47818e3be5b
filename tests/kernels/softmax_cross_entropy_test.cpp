// SPDX-License-Identifier: MIT
#include <lora/ops/softmax_cross_entropy.hpp>

#include <cmath>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

Tensor<std::int32_t> some_labels(index_t rows, index_t classes) {
  Tensor<std::int32_t> labels({rows});
  for (index_t i = 0; i < rows; ++i) {
    labels[i] = i % 5 == 3 ? lora::kIgnoreIndex : static_cast<std::int32_t>(i * 31 % classes);
  }
  return labels;
}

/// Compares with the CPU in double; the kernel's exponentials are correct to about two units in the
/// last place.
void check_against_double(const Tensor<float>& logits, const Tensor<std::int32_t>& labels,
                          bool in_place) {
  INFO("logits are " << describe(logits) << (in_place ? ", in place" : ""));
  Tensor<double> expected;
  const double expected_loss =
      lora::softmax_cross_entropy(convert<double>(logits), labels, expected);

  Tensor<float> gpu_logits = on_gpu(logits);
  Tensor<float> other;
  Tensor<float>& dlogits = in_place ? gpu_logits : other;
  const double loss = lora::softmax_cross_entropy(gpu_logits, on_gpu(labels), dlogits);
  if (std::isnan(expected_loss)) {
    CHECK(std::isnan(loss));
  } else {
    CHECK(std::fabs(loss - expected_loss) <= 1e-6 * std::fmax(1.0, std::fabs(expected_loss)));
  }
  const double rows = static_cast<double>(std::max<index_t>(1, logits.dim(0)));
  CHECK(max_error(on_cpu(dlogits), expected) * rows <= 4e-6);
}

}  // namespace

TEST_CASE("the loss and its gradient, in place or not", "[kernels][softmax_cross_entropy]") {
  for (const auto& [rows, cols] : kShapes) {
    Tensor<float> logits = random_tensor<float>({rows, cols}, 1);
    lora::ops::scale(logits, 3.0);
    check_against_double(logits, some_labels(rows, cols), false);
    check_against_double(logits, some_labels(rows, cols), true);
  }
}

TEST_CASE("many rows, in more than one block", "[kernels][softmax_cross_entropy]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1500, 10}, {300, 130}, {11, 1027}}) {
    check_against_double(random_tensor<float>({rows, cols}, 2), some_labels(rows, cols), true);
  }
}

TEST_CASE("rows at any address", "[kernels][softmax_cross_entropy]") {
  for (const index_t begin : {0, 1, 2, 3}) {
    INFO("from element " << begin);
    const Tensor<float> memory = random_tensor<float>({3, 1100}, 3);
    const Tensor<std::int32_t> labels({3}, {0, 1050, 17});
    Tensor<float> gradient({3, 1100});
    double loss = 0;
    lora::cpu::softmax_cross_entropy<float>({memory.data() + begin, 3, 1061, 1100}, labels.vector(),
                                            {gradient.data(), 3, 1061, 1100}, {&loss, 1, nullptr});
    const Tensor<float> gpu_memory = on_gpu(memory);
    const Tensor<std::int32_t> gpu_labels = on_gpu(labels);
    Tensor<float> gpu_gradient({3, 1100}, Device::cuda);
    Tensor<double> gpu_loss({1}, Device::cuda);
    REQUIRE(lora::detail::backend().softmax_cross_entropy(
                {gpu_memory.data() + begin, 3, 1061, 1100}, gpu_labels.vector(),
                {gpu_gradient.data(), 3, 1061, 1100}, {gpu_loss.data(), 1, nullptr}, nullptr) == 0);
    CHECK(max_error(on_cpu(gpu_gradient), gradient) < 1e-6);
    CHECK(on_cpu(gpu_loss)[0] == approx(loss).epsilon(1e-6));
  }
}

TEST_CASE("rows without a finite loss", "[kernels][softmax_cross_entropy]") {
  for (const index_t cols : {10, 1300}) {
    for (const float odd : {NAN, INFINITY, -INFINITY}) {
      INFO(odd << " in " << cols << " columns");
      Tensor<float> logits = random_tensor<float>({3, cols}, 4);
      logits(0, 7) = odd;
      for (index_t j = 0; j < cols; ++j) logits(1, j) = -INFINITY;
      const Tensor<std::int32_t> labels({3}, {2, 1, 0});
      Tensor<float> dlogits, gpu_dlogits;
      const double loss = lora::softmax_cross_entropy(logits, labels, dlogits);
      CHECK(std::isnan(loss));
      CHECK(std::isnan(lora::softmax_cross_entropy(on_gpu(logits), on_gpu(labels), gpu_dlogits)));
      const Tensor<float> result = on_cpu(gpu_dlogits);
      bool same = true;
      for (index_t i = 0; i < result.numel(); ++i) {
        same &= std::isnan(dlogits[i]) ? std::isnan(result[i])
                                       : std::fabs(result[i] - dlogits[i]) < 1e-6f;
      }
      CHECK(same);
    }
  }
}

TEST_CASE("labels that count nowhere", "[kernels][softmax_cross_entropy]") {
  const Tensor<float> logits = random_tensor<float>({2, 6}, 5);
  Tensor<float> dlogits;
  const Tensor<std::int32_t> ignored({2}, {lora::kIgnoreIndex, lora::kIgnoreIndex});
  CHECK(std::isnan(lora::softmax_cross_entropy(on_gpu(logits), on_gpu(ignored), dlogits)));
  CHECK(same_bits(on_cpu(dlogits), Tensor<float>({2, 6})));
  const Tensor<std::int32_t> beyond({2}, {0, 6});
  CHECK(std::isnan(lora::softmax_cross_entropy(on_gpu(logits), on_gpu(beyond), dlogits)));
}

TEST_CASE("the same launch gives the same bits", "[kernels][softmax_cross_entropy]") {
  const Tensor<float> logits = on_gpu(random_tensor<float>({130, 300}, 6));
  const Tensor<std::int32_t> labels = on_gpu(some_labels(130, 300));
  Tensor<float> first_gradient, gradient;
  const double first = lora::softmax_cross_entropy(logits, labels, first_gradient);
  for (int i = 0; i < 3; ++i) {
    CHECK(lora::softmax_cross_entropy(logits, labels, gradient) == first);
    CHECK(same_bits(on_cpu(gradient), on_cpu(first_gradient)));
  }
}
