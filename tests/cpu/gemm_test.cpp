// SPDX-License-Identifier: MIT
#include <lora/cpu/gemm.hpp>

#include <lora/ops/elementwise.hpp>
#include <lora/ops/linear.hpp>
#include <lora/ops/lora_linear.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace cpu = lora::cpu;
namespace ops = lora::ops;

namespace {

template <class T>
Tensor<T> plain_product(const Tensor<T>& a, const Tensor<T>& b) {
  Tensor<T> c({a.dim(0), b.dim(1)});
  for (index_t i = 0; i < a.dim(0); ++i) {
    for (index_t k = 0; k < a.dim(1); ++k) {
      for (index_t j = 0; j < b.dim(1); ++j) c(i, j) += a(i, k) * b(k, j);
    }
  }
  return c;
}

template <class T>
Tensor<T> turned(const Tensor<T>& x) {
  Tensor<T> y({x.dim(1), x.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j < x.dim(1); ++j) y(j, i) = x(i, j);
  }
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("gemm is exact on small whole numbers, however its operands lie", "[gemm]",
                   float, double) {
  using View = lora::MatrixView<const TestType>;
  struct Sizes {
    index_t m, n, k;
  };
  // Below, at and above a tile, a block of rows and the depth of a block.
  for (const auto& [m, n, k] : {Sizes{1, 1, 1},
                                {7, 47, 5},
                                {8, 48, 256},
                                {97, 49, 257},
                                {100, 130, 300},
                                {193, 20, 513},
                                {5, 3100, 3},
                                {4, 5, 0}}) {
    INFO("seed 1, m " << m << ", n " << n << ", k " << k);
    const Tensor<TestType> a = random_integers<TestType>({m, k}, 1);
    const Tensor<TestType> b = random_integers<TestType>({k, n}, 2);
    const Tensor<TestType> a_turned = turned(a);
    const Tensor<TestType> b_turned = turned(b);
    const Tensor<TestType> expected = plain_product(a, b);
    const View a_view = a.matrix(), b_view = b.matrix();
    const View a_turned_view = a_turned.matrix(), b_turned_view = b_turned.matrix();
    Tensor<TestType> c({m, n});
    lora::ops::fill(c, NAN);
    cpu::gemm(cpu::as_is(a_view), cpu::as_is(b_view), k, c.matrix(), false);
    CHECK(same_bits(c, expected));
    cpu::gemm(cpu::as_is(a_view), cpu::transposed(b_turned_view), k, c.matrix(), false);
    CHECK(same_bits(c, expected));
    cpu::gemm(cpu::transposed(a_turned_view), cpu::as_is(b_view), k, c.matrix(), true);
    for (index_t i = 0; i < c.numel(); ++i) REQUIRE(c[i] == 2 * expected[i]);
  }
}

TEST_CASE("gemm does not depend on the number of threads", "[gemm][threads]") {
  const ThreadCountGuard guard;
  const auto a = random_tensor<float>({301, 290}, 1);
  const auto b = random_tensor<float>({290, 123}, 2);
  const lora::MatrixView<const float> a_view = a.matrix(), b_view = b.matrix();
  const auto product = [&](int threads) {
    lora::set_num_threads(threads);
    Tensor<float> c({301, 123});
    cpu::gemm(cpu::as_is(a_view), cpu::as_is(b_view), index_t{290}, c.matrix(), false);
    return c;
  };
  const Tensor<float> one = product(1);
  CHECK(same_bits(product(2), one));
  CHECK(same_bits(product(5), one));
}

TEST_CASE("a LoRA layer of many rows equals the layer with W + s B A", "[gemm][lora_linear]") {
  const auto x = random_tensor<double>({90, 70}, 1);
  const auto w = random_tensor<double>({50, 70}, 2);
  const auto bias = random_tensor<double>({50}, 3);
  const auto a = random_tensor<double>({3, 70}, 4);
  const auto b = random_tensor<double>({50, 3}, 5);
  const auto dy = random_tensor<double>({90, 50}, 6);
  Tensor<double> h, y, dh, dx, expected, merged = w;
  ops::lora_merge(a, b, merged, 1.5);
  ops::lora_linear(x, w, &bias, a, b, h, y, 1.5);
  ops::linear(x, merged, &bias, expected);
  CHECK(max_error(y, expected) < 1e-12);
  ops::lora_linear_backward_input(dy, w, a, b, dh, &dx, 1.5);
  ops::linear_backward_input(dy, merged, expected);
  CHECK(max_error(dx, expected) < 1e-12);
}

TEST_CASE("large products go to a BLAS that was registered, thin ones do not", "[gemm][blas]") {
  static int calls = 0;
  const struct Registered {
    Registered() {
      lora::detail::external_sgemm = [](const cpu::GemmOperand<float>&,
                                        const cpu::GemmOperand<float>&, std::int64_t,
                                        const lora::MatrixView<float>&, bool) { ++calls; };
    }
    ~Registered() { lora::detail::external_sgemm = nullptr; }
  } registered;
  const Tensor<float> w({40, 50});
  Tensor<float> y;
  ops::linear<float>(Tensor<float>({64, 50}), w, nullptr, y);
  CHECK(calls == 0);
  ops::linear<float>(Tensor<float>({65, 50}), w, nullptr, y);
  CHECK(calls == 1);
}
