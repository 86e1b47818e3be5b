// SPDX-License-Identifier: MIT
#include <lora/ops/lora_linear.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

struct Operands {
  Tensor<double> x, w, bias, a, b;
};

Operands random_operands(index_t batch, index_t in, index_t out, index_t rank, std::uint64_t seed) {
  return {random_tensor<double>({batch, in}, seed), random_tensor<double>({out, in}, seed + 1),
          random_tensor<double>({out}, seed + 2), random_tensor<double>({rank, in}, seed + 3),
          random_tensor<double>({out, rank}, seed + 4)};
}

}  // namespace

TEST_CASE("lora_linear equals the layer with W + s B A, alpha not being r", "[lora_linear]") {
  std::uint64_t seed = 1;
  for (const index_t out : {33, 3, 2, 1}) {
    for (const index_t rank : {1, 2, 3, 8, 17}) {
      INFO("rank " << rank << ", " << out << " outputs, seed " << seed);
      const Operands o = random_operands(10, 50, out, rank, seed += 10);
      const double scale = 2.5;
      Tensor<double> h, y, expected, merged = o.w;
      ops::lora_linear(o.x, o.w, &o.bias, o.a, o.b, h, y, scale);
      ops::lora_merge(o.a, o.b, merged, scale);
      ops::linear(o.x, merged, &o.bias, expected);
      CHECK(max_error(y, expected) < 1e-12);
      CHECK(h.shape() == Shape{10, rank});
    }
  }
}

TEST_CASE("lora_linear scales the update alone, not the base", "[lora_linear]") {
  const Tensor<float> x({1, 1}, {1}), w({1, 1}, {100}), a({1, 1}, {3}), b({1, 1}, {5});
  Tensor<float> h, y;
  ops::lora_linear<float>(x, w, nullptr, a, b, h, y, 2.0);
  CHECK(y(0, 0) == 100 + 2 * 5 * 3);
  CHECK(h(0, 0) == 2 * 3);
}

TEST_CASE("lora_linear with B = 0 is the base, bit for bit", "[lora_linear]") {
  const auto x = random_tensor<float>({10, 65}, 1);
  const auto w = random_tensor<float>({21, 65}, 2);
  const auto a = random_tensor<float>({4, 65}, 3);
  const Tensor<float> b({21, 4});
  Tensor<float> h, y, base;
  ops::lora_linear<float>(x, w, nullptr, a, b, h, y, 1.0);
  ops::linear<float>(x, w, nullptr, base);
  CHECK(same_bits(y, base));
}

TEST_CASE("lora_linear's gradients match finite differences", "[lora_linear][gradient]") {
  Operands o = random_operands(3, 7, 5, 2, 31);
  const double scale = 0.7;
  const auto c = random_tensor<double>({3, 5}, 41);
  const auto loss = [&] {
    Tensor<double> h, y;
    ops::lora_linear(o.x, o.w, &o.bias, o.a, o.b, h, y, scale);
    return dot(y, c);
  };
  Tensor<double> h, y, dh, dx, da, db, dw;
  ops::lora_linear(o.x, o.w, &o.bias, o.a, o.b, h, y, scale);
  ops::lora_linear_backward_input(c, o.w, o.a, o.b, dh, &dx, scale);
  ops::linear_backward_weight(dh, o.x, da);
  ops::linear_backward_weight(c, h, db);
  ops::linear_backward_weight(c, o.x, dw);
  check_gradient(o.x, dx, loss);
  check_gradient(o.a, da, loss);
  check_gradient(o.b, db, loss);
  check_gradient(o.w, dw, loss);
}

TEST_CASE("lora_linear_backward_input gives dh alone when dx is not wanted", "[lora_linear]") {
  const Operands o = random_operands(4, 9, 6, 3, 51);
  const auto dy = random_tensor<double>({4, 6}, 61);
  Tensor<double> dh, dh_alone, dx;
  ops::lora_linear_backward_input(dy, o.w, o.a, o.b, dh, &dx, 1.5);
  ops::lora_linear_backward_input<double>(dy, o.w, o.a, o.b, dh_alone, nullptr, 1.5);
  CHECK(same_bits(dh, dh_alone));
}

TEST_CASE("lora_merge adds s B A", "[lora_linear]") {
  const Tensor<float> a({1, 3}, {1, 2, 3}), b({2, 1}, {10, -1});
  Tensor<float> w({2, 3}, {1, 1, 1, 1, 1, 1});
  ops::lora_merge(a, b, w, 0.5);
  const Tensor<float> expected({2, 3}, {6, 11, 16, 0.5, 0, -0.5});
  CHECK(same_bits(w, expected));
}

TEST_CASE("lora_linear refuses an adapter of other shapes", "[lora_linear][errors]") {
  const Tensor<float> x({2, 4}), w({3, 4});
  Tensor<float> h, y;
  const auto run = [&](Shape a, Shape b) {
    ops::lora_linear<float>(x, w, nullptr, Tensor<float>(a), Tensor<float>(b), h, y, 1.0);
  };
  CHECK_THROWS_WITH(run({1, 5}, {3, 1}), contains("lora_A is (1, 5) on cpu, w is (3, 4) on cpu"));
  CHECK_THROWS_WITH(run({1, 4}, {4, 1}), contains("lora_B is (4, 1)"));
  CHECK_THROWS_WITH(run({2, 4}, {3, 1}), contains("size 0 of lora_A must equal size 1 of lora_B"));
}
