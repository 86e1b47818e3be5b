// SPDX-License-Identifier: MIT
#include <lora/ops/layer_norm.hpp>
#include <lora/ops/rms_norm.hpp>

#include "kernels/support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

constexpr double kEps = 0.01;

/// The CPU in double against the GPU; `offset` is added to every element of x.
void check_layer_norm(index_t rows, index_t cols, bool has_bias, double offset, double tolerance) {
  INFO("x is (" << rows << ", " << cols << ") around " << offset << (has_bias ? ", bias" : "")
                << ", seeds 1 to 4");
  Tensor<float> x = random_tensor<float>({rows, cols}, 1);
  for (float& element : x.span()) element += static_cast<float>(offset);
  const auto dy = random_tensor<float>({rows, cols}, 2);
  const auto weight = random_tensor<float>({cols}, 3), bias = random_tensor<float>({cols}, 4);
  const auto wide_x = convert<double>(x), wide_weight = convert<double>(weight),
             wide_bias = convert<double>(bias);
  Tensor<double> y, mean, inv_std, dx, dweight, dbias;
  ops::layer_norm(wide_x, wide_weight, has_bias ? &wide_bias : nullptr, y, mean, inv_std, kEps);
  ops::layer_norm_backward(convert<double>(dy), wide_x, wide_weight, mean, inv_std, &dx, &dweight,
                           &dbias);

  const auto gpu_x = on_gpu(x), gpu_dy = on_gpu(dy), gpu_weight = on_gpu(weight),
             gpu_bias = on_gpu(bias);
  Tensor<float> gpu_y, gpu_mean, gpu_inv_std, gpu_dx, gpu_dweight, gpu_dbias;
  ops::layer_norm(gpu_x, gpu_weight, has_bias ? &gpu_bias : nullptr, gpu_y, gpu_mean, gpu_inv_std,
                  kEps);
  ops::layer_norm_backward(gpu_dy, gpu_x, gpu_weight, gpu_mean, gpu_inv_std, &gpu_dx, &gpu_dweight,
                           &gpu_dbias);
  CHECK(max_error(on_cpu(gpu_y), y) < tolerance);
  CHECK(max_error(on_cpu(gpu_mean), mean) < (offset == 0 ? 1e-6 : 5e-8));
  CHECK(max_error(on_cpu(gpu_inv_std), inv_std) < tolerance);
  CHECK(max_error(on_cpu(gpu_dx), dx) < tolerance);
  CHECK(max_error(on_cpu(gpu_dweight), dweight) < tolerance);
  CHECK(max_error(on_cpu(gpu_dbias), dbias) < tolerance);
}

}  // namespace

TEST_CASE("layer_norm and its gradients are near the CPU's", "[kernels][layer_norm]") {
  for (const auto& [rows, cols] : kShapes) {
    for (const bool has_bias : {true, false}) check_layer_norm(rows, cols, has_bias, 0, 2e-5);
  }
  check_layer_norm(1500, 33, true, 0, 2e-5);
  check_layer_norm(300, 130, true, 0, 2e-5);
  check_layer_norm(3, 1028, true, 0, 2e-5);
}

TEST_CASE("layer_norm keeps its accuracy far from zero", "[kernels][layer_norm]") {
  // Half a unit in the last place of the mean is 3e-5.
  check_layer_norm(5, 784, true, 1000, 1e-3);
  check_layer_norm(2, 1501, true, 1000, 1e-3);
}

TEST_CASE("rms_norm and its gradients are near the CPU's", "[kernels][rms_norm]") {
  for (const auto& [rows, cols] : kShapes) {
    INFO("x is (" << rows << ", " << cols << "), seeds 1 to 3");
    const auto x = random_tensor<float>({rows, cols}, 1),
               dy = random_tensor<float>({rows, cols}, 2);
    const auto weight = random_tensor<float>({cols}, 3);
    const auto wide_x = convert<double>(x), wide_weight = convert<double>(weight);
    Tensor<double> y, inv_rms, dx, dweight;
    ops::rms_norm(wide_x, wide_weight, y, inv_rms, kEps);
    ops::rms_norm_backward(convert<double>(dy), wide_x, wide_weight, inv_rms, &dx, &dweight);
    const auto gpu_x = on_gpu(x), gpu_dy = on_gpu(dy), gpu_weight = on_gpu(weight);
    Tensor<float> gpu_y, gpu_inv_rms, gpu_dx, gpu_dweight;
    ops::rms_norm(gpu_x, gpu_weight, gpu_y, gpu_inv_rms, kEps);
    ops::rms_norm_backward(gpu_dy, gpu_x, gpu_weight, gpu_inv_rms, &gpu_dx, &gpu_dweight);
    CHECK(max_error(on_cpu(gpu_y), y) < 2e-5);
    CHECK(max_error(on_cpu(gpu_inv_rms), inv_rms) < 2e-5);
    CHECK(max_error(on_cpu(gpu_dx), dx) < 2e-5);
    CHECK(max_error(on_cpu(gpu_dweight), dweight) < 2e-5);
  }
}

TEST_CASE("a norm's gradients alone, added to, and over dy", "[kernels][layer_norm]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 5}, {300, 40}, {4, 1030}}) {
    INFO("x is (" << rows << ", " << cols << ")");
    const auto x = on_gpu(random_tensor<float>({rows, cols}, 1));
    const auto dy = on_gpu(random_tensor<float>({rows, cols}, 2));
    const auto weight = on_gpu(random_tensor<float>({cols}, 3));
    const auto before = random_tensor<float>({cols}, 4);
    Tensor<float> y, mean, inv_std, dx, dweight, dbias, alone, over = dy;
    ops::layer_norm(x, weight, &weight, y, mean, inv_std, kEps);
    const auto backward = [&](Tensor<float>* to_x, Tensor<float>* to_weight, Tensor<float>* to_bias,
                              bool add_weight, bool add_bias) {
      ops::layer_norm_backward(dy, x, weight, mean, inv_std, to_x, to_weight, to_bias, add_weight,
                               add_bias);
    };
    backward(&dx, &dweight, &dbias, false, false);
    for (int i = 0; i < 2; ++i) {
      backward(&alone, nullptr, nullptr, false, false);
      CHECK(same_bits(on_cpu(alone), on_cpu(dx)));
      backward(nullptr, &alone, nullptr, false, false);
      CHECK(same_bits(on_cpu(alone), on_cpu(dweight)));
      backward(nullptr, nullptr, &alone, false, false);
      CHECK(same_bits(on_cpu(alone), on_cpu(dbias)));
    }
    ops::layer_norm_backward(over, x, weight, mean, inv_std, &over, &dweight, &dbias);
    CHECK(same_bits(on_cpu(over), on_cpu(dx)));

    Tensor<float> sum = on_gpu(before);
    backward(nullptr, &sum, &alone, true, false);
    CHECK(same_bits(on_cpu(alone), on_cpu(dbias)));
    Tensor<float> expected = on_cpu(dweight);
    ops::add(before, expected);
    CHECK(max_error(on_cpu(sum), expected) < 1e-5);
    sum = on_gpu(before);
    backward(nullptr, &alone, &sum, false, true);
    CHECK(same_bits(on_cpu(alone), on_cpu(dweight)));
    expected = on_cpu(dbias);
    ops::add(before, expected);
    CHECK(max_error(on_cpu(sum), expected) < 1e-5);
  }
}

TEST_CASE("norms of rows at any address", "[kernels][layer_norm]") {
  const auto memory = random_tensor<float>({3, 140}, 1), weight = random_tensor<float>({140}, 2);
  const auto gpu_memory = on_gpu(memory), gpu_weight = on_gpu(weight);
  const lora::detail::Backend& table = lora::detail::backend();
  for (const index_t begin : {0, 1, 4}) {
    for (const index_t cols : {128, 131}) {
      INFO("columns " << begin << " to " << begin + cols);
      Tensor<float> y({3, 140}), mean({3}), inv_std({3}), dx({3, 140}), dweight({cols});
      Tensor<float> gpu_y = on_gpu(y), gpu_mean = on_gpu(mean), gpu_inv_std = on_gpu(inv_std),
                    gpu_dx = on_gpu(dx), gpu_dweight = on_gpu(dweight);
      const auto run = [&](const auto& forward, const auto& backward, const Tensor<float>& from,
                           const Tensor<float>& w, Tensor<float>& to, Tensor<float>& m,
                           Tensor<float>& s, Tensor<float>& d, Tensor<float>& dw) {
        const lora::MatrixView<const float> x{from.data() + begin, 3, cols, 140};
        const lora::VectorView<const float> scale{w.data() + begin, cols};
        forward(x, scale, scale, lora::MatrixView<float>{to.data(), 3, cols, 140}, m.vector(),
                s.vector(), kEps);
        const Tensor<float>&const_m = m, &const_s = s;
        backward(x, x, scale, const_m.vector(), const_s.vector(),
                 lora::MatrixView<float>{d.data(), 3, cols, 140}, dw.vector(),
                 lora::VectorView<float>{nullptr, 0}, false, false);
      };
      run(lora::cpu::layer_norm<float>, lora::cpu::layer_norm_backward<float>, memory, weight, y,
          mean, inv_std, dx, dweight);
      run([&](const auto&... args) { REQUIRE(table.layer_norm(args..., nullptr) == 0); },
          [&](const auto&... args) { REQUIRE(table.layer_norm_backward(args..., nullptr) == 0); },
          gpu_memory, gpu_weight, gpu_y, gpu_mean, gpu_inv_std, gpu_dx, gpu_dweight);
      CHECK(max_error(on_cpu(gpu_y), y) < 1e-5);
      CHECK(max_error(on_cpu(gpu_dx), dx) < 1e-5);
      CHECK(max_error(on_cpu(gpu_dweight), dweight) < 1e-5);
    }
  }
}
