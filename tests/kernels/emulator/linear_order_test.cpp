// SPDX-License-Identifier: MIT
#include <vector>

#include <lora_emu/control.hpp>

#include "kernels/linear_support.hpp"

// The order in which threads and blocks run is the emulator's choice. No bit may depend on it.

using namespace lora_test;
using lora::Activation;
using lora::AdamState;
namespace ops = lora::ops;

namespace {

AdamState<float> zero_state(const Tensor<float>& value) {
  return {on_gpu(Tensor<float>(value.shape())), on_gpu(Tensor<float>(value.shape()))};
}

/// What every product and update makes of one layer.
std::vector<Tensor<float>> run(const LayerOperands& o) {
  const auto x = on_gpu(o.x), dy = on_gpu(o.dy), relu_output = on_gpu(o.relu_output);
  auto w = on_gpu(o.w), bias = on_gpu(o.bias), a = on_gpu(o.a), b = on_gpu(o.b);
  auto w_state = zero_state(o.w), bias_state = zero_state(o.bias);
  auto a_state = zero_state(o.a), b_state = zero_state(o.b);
  const auto schedule = lora::detail::adam_schedule({}, 1);
  Tensor<float> y, h, dh, dx, lora_y, lora_dx, update_dx, dw, u, wa, squares, norms, gains;
  ops::dora_linear(x, a, w, u, wa, squares);
  ops::dora_gains(wa, 0, squares, a, b, w, bias, 0.5, norms, gains);
  ops::linear(x, w, &bias, y, Activation::relu);
  ops::linear_backward_input(dy, w, dx, &relu_output);
  ops::linear_backward_weight(dy, x, dw);
  ops::lora_linear(x, w, &bias, a, b, h, lora_y, 0.5);
  ops::lora_linear_backward_adam(dy, x, w, h, a, a_state, b, b_state, dh, &lora_dx, 0.5, schedule,
                                 schedule);
  ops::linear_backward_adam(dy, x, w, w_state, &bias, &bias_state, &update_dx, schedule,
                            &relu_output);
  std::vector<Tensor<float>> results;
  for (const Tensor<float>* t : {&y, &dx, &dw, &h, &lora_y, &dh, &lora_dx, &a, &b, &update_dx, &w,
                                 &w_state.m, &w_state.v, &bias, &wa, &squares, &norms, &gains}) {
    results.push_back(on_cpu(*t));
  }
  return results;
}

}  // namespace

TEST_CASE("products and updates have the same bits in every order of threads",
          "[kernels][emulator]") {
  const std::uint64_t kept = lora_emu::seed();
  for (const LayerSizes& s : {LayerSizes{10, 300, 150, 2}, LayerSizes{20, 65, 300, 4},
                              LayerSizes{3, 1000, 37, 17}, LayerSizes{70, 66, 90, 4}}) {
    const LayerOperands o(s, false, 31000);
    const std::vector<Tensor<float>> expected = run(o);
    for (std::uint64_t seed = kept + 1; seed < kept + 4; ++seed) {
      INFO(text(s) << ", seed " << seed);
      lora_emu::set_seed(seed);
      lora_emu::set_resident_blocks(seed == kept + 1 ? 1 : 4);
      const std::vector<Tensor<float>> results = run(o);
      for (std::size_t i = 0; i < results.size(); ++i) {
        INFO("tensor " << i);
        CHECK(same_bits(results[i], expected[i]));
      }
    }
  }
  lora_emu::set_resident_blocks(1);
  lora_emu::set_seed(kept);
}
