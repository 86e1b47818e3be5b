// SPDX-License-Identifier: MIT
#include <lora/ops/conv2d.hpp>

#include "kernels/support.hpp"
#include "support/conv2d.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

// Beside those of the CPU: on both sides of a tile, of a step and of a chunk.
const ConvCase kTileCases[] = {
    {1, 8, 5, 13, 8, {1, 1}},
    {2, 9, 8, 8, 9, {1, 1}},
    {1, 15, 8, 16, 32, {1, 1}},
    {1, 17, 9, 15, 33, {1, 1}},
    {2, 64, 8, 4, 64, {1, 1}},
    {1, 65, 3, 43, 66, {1, 1}},
    {3, 20, 13, 14, 40, {3, 3}, {.stride = 2, .padding = 1, .groups = 2}},
    {5, 3, 14, 15, 12, {3, 3}, {.padding = 1}},
};

template <class Check>
void for_each_case(const Check& check) {
  for (const ConvCase& c : kConvCases) {
    if (c.batch * c.channels * c.height * c.width < 20000) check(c);  // the emulator's patience
  }
  for (const ConvCase& c : kTileCases) check(c);
}

}  // namespace

TEST_CASE("conv2d on cuda is exact on small whole numbers", "[kernels][conv2d]") {
  std::uint64_t seed = 1000;
  for_each_case([&](const ConvCase& c) {
    INFO(text(c) << ", seed " << seed);
    const ConvOperands<float> o(c, true, seed += 10);
    const ConvReference expected(c, o.x, o.w, o.bias, o.dy);
    const ConvResults<float> got(c, o, Device::cuda);
    CHECK(max_error(got.y, expected.y) == 0);
    CHECK(max_error(got.dx, expected.dx) == 0);
    CHECK(max_error(got.dw, expected.dw) == 0);
    CHECK(max_error(got.db, expected.db) == 0);
  });
}

TEST_CASE("conv2d on cuda agrees with double", "[kernels][conv2d]") {
  for (const ConvCase& c : {kTileCases[5], kTileCases[6], kTileCases[7], kConvCases[12]}) {
    INFO(text(c));
    const ConvOperands<float> o(c, false, 2000);
    const ConvReference expected(c, o.x, o.w, o.bias, o.dy);
    const ConvResults<float> got(c, o, Device::cuda);
    const double positions = static_cast<double>(o.dy.numel() / c.outputs);
    CHECK(max_error(got.y, expected.y) <= 1.3e-6 * std::sqrt(c.terms() + 1));
    CHECK(max_error(got.dx, expected.dx) <=
          1.3e-6 * std::sqrt(c.terms() * static_cast<double>(c.outputs)));
    CHECK(max_error(got.dw, expected.dw) <= 1.3e-6 * std::sqrt(positions));
    CHECK(max_error(got.db, expected.db) <= 1.3e-6 * std::sqrt(positions));
  }
}

TEST_CASE("conv2d on cuda adds to what is there when asked", "[kernels][conv2d]") {
  for (const ConvCase& c : {kTileCases[1], kTileCases[6], kTileCases[7], kConvCases[12]}) {
    INFO(text(c));
    const ConvOperands<float> o(c, true, 3000);
    ConvResults<float> expected(c, o);
    ConvResults<float> got = expected;
    for (Tensor<float>* t : {&got.y, &got.dx, &got.dw, &got.db}) *t = on_gpu(*t);
    const auto add = [&](ConvResults<float>& to, Device device) {
      const auto x = o.x.to(device), w = o.w.to(device), dy = o.dy.to(device);
      ops::conv2d<float>(x, w, nullptr, to.y, c.options, true);
      ops::conv2d_backward_input(dy, w, to.dx, c.options, true);
      ops::conv2d_backward_weight(dy, x, to.dw, c.options, true);
      ops::conv2d_backward_bias(dy, to.db, true);
    };
    add(expected, Device::cpu);
    add(got, Device::cuda);
    CHECK(max_error(on_cpu(got.y), expected.y) == 0);
    CHECK(max_error(on_cpu(got.dx), expected.dx) == 0);
    CHECK(max_error(on_cpu(got.dw), expected.dw) == 0);
    CHECK(max_error(on_cpu(got.db), expected.db) == 0);
  }
}
