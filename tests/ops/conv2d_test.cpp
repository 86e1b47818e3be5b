// SPDX-License-Identifier: MIT
#include <lora/ops/conv2d.hpp>

#include "support/conv2d.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

template <class T>
void check_all_products(double tolerance, bool integers) {
  std::uint64_t seed = 100;
  for (const ConvCase& c : kConvCases) {
    INFO(text(c) << ", seed " << seed);
    const ConvOperands<T> o(c, integers, seed += 10);
    const ConvReference expected(c, o.x, o.w, o.bias, o.dy);
    const ConvResults<T> got(c, o);
    const double positions = static_cast<double>(o.dy.numel() / c.outputs);
    CHECK(max_error(got.y, expected.y) <= tolerance * std::sqrt(c.terms() + 1));
    CHECK(max_error(got.dx, expected.dx) <=
          tolerance * std::sqrt(c.terms() * static_cast<double>(c.outputs)));
    CHECK(max_error(got.dw, expected.dw) <= tolerance * std::sqrt(positions));
    CHECK(max_error(got.db, expected.db) <= tolerance * std::sqrt(positions));
  }
}

}  // namespace

TEST_CASE("conv2d and its gradients agree with plain sums, in float", "[conv2d]") {
  check_all_products<float>(1.3e-6, false);
}

TEST_CASE("conv2d and its gradients agree with plain sums, in double", "[conv2d]") {
  check_all_products<double>(1e-14, false);
}

TEST_CASE("conv2d is exact on small whole numbers", "[conv2d]") {
  check_all_products<float>(0, true);
}

TEST_CASE("conv2d and its gradients are added to what is there when asked", "[conv2d]") {
  for (const ConvCase& c : kConvCases) {
    INFO(text(c));
    const ConvOperands<float> o(c, true, 7);
    const ConvResults<float> once(c, o);
    ConvResults<float> twice = once;
    ops::conv2d(o.x, o.w, &o.bias, twice.y, c.options, true);
    ops::conv2d_backward_input(o.dy, o.w, twice.dx, c.options, true);
    ops::conv2d_backward_weight(o.dy, o.x, twice.dw, c.options, true);
    ops::conv2d_backward_bias(o.dy, twice.db, true);
    const auto doubled = [](const Tensor<float>& x) {
      Tensor<float> y = x;
      for (float& value : y.span()) value *= 2;
      return y;
    };
    CHECK(max_error(twice.y, doubled(once.y)) == 0);
    CHECK(max_error(twice.dx, doubled(once.dx)) == 0);
    CHECK(max_error(twice.dw, doubled(once.dw)) == 0);
    CHECK(max_error(twice.db, doubled(once.db)) == 0);
  }
}

TEST_CASE("conv2d works without a bias", "[conv2d]") {
  const Tensor<float> x({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor<float> w({1, 1, 2, 2}, {1, 10, 100, 1000});
  Tensor<float> y;
  ops::conv2d<float>(x, w, nullptr, y);
  CHECK(same_bits(y, Tensor<float>({1, 1, 1, 2}, {5421, 6532})));
}

TEST_CASE("conv2d's gradients match finite differences", "[conv2d][gradient]") {
  for (const ConvCase& c :
       {ConvCase{2, 3, 5, 4, 4, {3, 2}, {.padding = 1}},
        ConvCase{2, 4, 7, 6, 4, {3, 3}, {.stride = 2, .padding = {1, 2}, .groups = 2}},
        ConvCase{1, 3, 8, 7, 3, {2, 3}, {.stride = {3, 2}, .dilation = 2, .groups = 3}}}) {
    INFO(text(c));
    ConvOperands<double> o(c, false, 31);
    const ConvResults<double> gradients(c, o);
    const auto loss = [&] {
      Tensor<double> y;
      ops::conv2d(o.x, o.w, &o.bias, y, c.options);
      return dot(y, o.dy);
    };
    check_gradient(o.x, gradients.dx, loss);
    check_gradient(o.w, gradients.dw, loss);
    check_gradient(o.bias, gradients.db, loss);
  }
}

TEST_CASE("conv2d's results do not depend on the number of threads", "[conv2d][threads]") {
  const ThreadCountGuard guard;
  for (const ConvCase& c : kConvCases) {
    INFO(text(c));
    const ConvOperands<float> o(c, false, 51);
    lora::set_num_threads(1);
    const ConvResults<float> one(c, o);
    for (const int threads : {2, 3}) {
      INFO(threads << " threads");
      lora::set_num_threads(threads);
      const ConvResults<float> several(c, o);
      CHECK(same_bits(several.y, one.y));
      CHECK(same_bits(several.dx, one.dx));
      CHECK(same_bits(several.dw, one.dw));
      CHECK(same_bits(several.db, one.db));
    }
  }
}

TEST_CASE("conv2d says in one sentence what does not fit", "[conv2d][errors]") {
  const Tensor<float> x({2, 4, 6, 5}), w({6, 4, 3, 3}), bias({5});
  Tensor<float> y;
  const auto run = [&](const Tensor<float>& kernel, const lora::Conv2dOptions& options) {
    ops::conv2d<float>(x, kernel, nullptr, y, options);
  };
  CHECK_THROWS_AS(run(w, {.stride = {1, 0}}), lora::ValueError);
  CHECK_THROWS_WITH(run(w, {.stride = {1, 0}}),
                    contains("conv2d: stride is (1, 0), both must be at least 1"));
  CHECK_THROWS_WITH(run(w, {.padding = -1}), contains("padding is (-1, -1)"));
  CHECK_THROWS_WITH(run(w, {.dilation = 0}), contains("dilation is (0, 0)"));
  CHECK_THROWS_WITH(run(w, {.groups = 0}), contains("groups is 0, must be at least 1"));
  CHECK_THROWS_AS(run(w, {.groups = 2}), lora::ShapeError);
  CHECK_THROWS_WITH(run(w, {.groups = 2}),
                    contains("conv2d: x is (2, 4, 6, 5) on cpu, weight is (6, 4, 3, 3) on cpu: "
                             "with groups = 2"));
  CHECK_THROWS_WITH(run(Tensor<float>({6, 1, 3, 3}), {.groups = 4}), contains("a multiple"));
  CHECK_THROWS_WITH(run(w, {.dilation = 3}), contains("dilation (3, 3) the kernel is larger"));
  CHECK_THROWS_WITH(run(Tensor<float>({6, 4, 0, 3}), {}), contains("no element"));
  CHECK_THROWS_WITH(run(Tensor<float>({6, 4}), {}), contains("both must have four sizes"));
  CHECK_THROWS_WITH(ops::conv2d(x, w, &bias, y),
                    contains("conv2d: bias is (5,) on cpu, expected (6,)"));
  CHECK_THROWS_WITH(ops::conv2d<float>(x, w, nullptr, y, {}, true),
                    contains("y is (0,) on cpu, expected (2, 6, 4, 3)"));

  const Tensor<float> dy({2, 6, 4, 4});
  Tensor<float> dx({2, 4, 6, 5}), dw({6, 4, 3, 3}), none;
  CHECK_THROWS_WITH(ops::conv2d_backward_input(dy, w, dx),
                    contains("conv2d_backward_input: dy is (2, 6, 4, 4) on cpu, expected "
                             "(2, 6, 4, 3)"));
  CHECK_THROWS_AS(ops::conv2d_backward_input(dy, w, none), lora::ShapeError);
  CHECK_THROWS_AS(ops::conv2d_backward_weight(dy, x, dw), lora::ShapeError);
  CHECK_THROWS_WITH(ops::conv2d_backward_weight(dy, x, none), contains("dw is (0,)"));
  CHECK_THROWS_AS(ops::conv2d_backward_bias(Tensor<float>({3, 3}), none), lora::ShapeError);
  CHECK_THROWS_AS(ops::conv2d_backward_bias(dy, none, true), lora::ShapeError);
}
