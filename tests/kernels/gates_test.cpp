// SPDX-License-Identifier: MIT
#include <lora/ops/gelu.hpp>
#include <lora/ops/silu.hpp>

#include "kernels/support.hpp"

using namespace lora_test;
using lora::GELUApproximation;
namespace ops = lora::ops;

namespace {

/// Compares with the CPU in double, in place or not; forward(x, y), backward(x, dy, dx).
template <class Forward, class Backward>
void check_gate(const Forward& forward, const Backward& backward) {
  for (const index_t size : kSizes) {
    INFO("size " << size << ", seeds 1 and 2");
    Tensor<float> x = random_tensor<float>({size}, 1);
    ops::scale(x, 3.0);
    if (size > 4) {
      x[0] = -1e30f;
      x[1] = 1e30f;
      x[2] = 0;
      x[size - 1] = -100;
    }
    const auto dy = random_tensor<float>({size}, 2);
    Tensor<double> y, dx;
    forward(convert<double>(x), y);
    backward(convert<double>(x), convert<double>(dy), dx);
    const auto gpu_x = on_gpu(x);
    Tensor<float> gpu_y, over_x = gpu_x, over_dy = on_gpu(dy);
    forward(gpu_x, gpu_y);
    forward(over_x, over_x);
    backward(gpu_x, over_dy, over_dy);
    CHECK(max_error(on_cpu(gpu_y), y) < 2e-6);
    CHECK(same_bits(on_cpu(over_x), on_cpu(gpu_y)));
    CHECK(max_error(on_cpu(over_dy), dx) < 2e-6);
  }
  const Tensor<float> odd = on_gpu(Tensor<float>({2}, {NAN, INFINITY}));
  Tensor<float> y;
  forward(odd, y);
  CHECK(std::isnan(on_cpu(y)[0]));
  CHECK(on_cpu(y)[1] == INFINITY);
}

}  // namespace

TEST_CASE("gelu and gelu_backward are near the CPU's", "[kernels][gelu]") {
  for (const auto approximation : {GELUApproximation::none, GELUApproximation::tanh}) {
    INFO("approximation " << static_cast<int>(approximation));
    check_gate([&](const auto& x, auto& y) { ops::gelu(x, y, approximation); },
               [&](const auto& x, const auto& dy, auto& dx) {
                 ops::gelu_backward(x, dy, dx, approximation);
               });
  }
}

TEST_CASE("silu and silu_backward are near the CPU's", "[kernels][silu]") {
  check_gate([](const auto& x, auto& y) { ops::silu(x, y); },
             [](const auto& x, const auto& dy, auto& dx) { ops::silu_backward(x, dy, dx); });
}
