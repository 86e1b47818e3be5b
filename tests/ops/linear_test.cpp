// SPDX-License-Identifier: MIT
#include <lora/ops/linear.hpp>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

struct Sizes {
  index_t batch, in, out;
};

std::string text(const Sizes& s) {
  return "B=" + std::to_string(s.batch) + " I=" + std::to_string(s.in) +
         " O=" + std::to_string(s.out);
}

// Ragged on purpose: around the widths of vectors, strips and groups, and the study's own.
const Sizes kSizes[] = {{1, 1, 1},    {1, 7, 3},     {3, 16, 2},    {4, 33, 17},  {5, 64, 31},
                        {9, 65, 16},  {10, 784, 10}, {10, 100, 33}, {11, 31, 32}, {14, 130, 15},
                        {25, 127, 9}, {64, 48, 20},  {10, 1, 5},    {2, 1500, 3},
                        {10, 50, 1},  {13, 33, 2},   {4, 784, 3},   {7, 3, 2}};

template <class T>
Tensor<double> reference_linear(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>* bias) {
  Tensor<double> y({x.dim(0), w.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t o = 0; o < w.dim(0); ++o) {
      double sum = bias ? static_cast<double>((*bias)[o]) : 0.0;
      for (index_t k = 0; k < x.dim(1); ++k) {
        sum += static_cast<double>(x(i, k)) * static_cast<double>(w(o, k));
      }
      y(i, o) = sum;
    }
  }
  return y;
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x) {
  Tensor<T> y({x.dim(1), x.dim(0)});
  for (index_t i = 0; i < x.dim(0); ++i) {
    for (index_t j = 0; j < x.dim(1); ++j) y(j, i) = x(i, j);
  }
  return y;
}

template <class T>
void check_all_products(double tolerance, bool integers) {
  std::uint64_t seed = 100;
  const auto make = [&](Shape shape) {
    return integers ? random_integers<T>(shape, seed++) : random_tensor<T>(shape, seed++);
  };
  for (const Sizes& s : kSizes) {
    INFO(text(s) << ", seeds up to " << seed + 4);
    const auto x = make({s.batch, s.in});
    const auto w = make({s.out, s.in});
    const auto bias = make({s.out});
    const auto dy = make({s.batch, s.out});
    const double bound = tolerance * std::sqrt(static_cast<double>(s.in + s.out + s.batch));

    Tensor<T> y, dx, dw, db;
    ops::linear(x, w, &bias, y);
    CHECK(max_error(y, reference_linear(x, w, &bias)) <= bound);
    ops::linear_backward_input(dy, w, dx);
    CHECK(max_error(dx, reference_linear<T>(dy, transpose(w), nullptr)) <= bound);
    ops::linear_backward_weight(dy, x, dw);
    CHECK(max_error(dw, reference_linear<T>(transpose(dy), transpose(x), nullptr)) <= bound);
    ops::linear_backward_bias(dy, db);
    const Tensor<T> ones({1, s.batch}, std::vector<T>(static_cast<std::size_t>(s.batch), T{1}));
    Tensor<double> sums = reference_linear<T>(ones, transpose(dy), nullptr);
    sums = Tensor<double>({s.out}, sums.span());
    CHECK(max_error(db, sums) <= bound);
  }
}

}  // namespace

TEST_CASE("linear and its gradients agree with plain sums, in float", "[linear]") {
  check_all_products<float>(1.3e-6, false);
}

TEST_CASE("linear and its gradients agree with plain sums, in double", "[linear]") {
  check_all_products<double>(1e-14, false);
}

TEST_CASE("linear is exact on small whole numbers", "[linear]") {
  check_all_products<float>(0, true);
}

TEST_CASE("linear works without a bias", "[linear]") {
  const Tensor<float> x({1, 2}, {1, 2});
  const Tensor<float> w({2, 2}, {1, 10, 100, 1000});
  Tensor<float> y;
  ops::linear<float>(x, w, nullptr, y);
  CHECK(y(0, 0) == 21);
  CHECK(y(0, 1) == 2100);
}

TEST_CASE("linear of an empty batch is empty", "[linear]") {
  const auto w = random_tensor<float>({3, 5}, 1);
  Tensor<float> x({0, 5}), y, dx, dw, db;
  ops::linear<float>(x, w, nullptr, y);
  CHECK(y.shape() == Shape{0, 3});
  ops::linear_backward_input(y, w, dx);
  CHECK(dx.shape() == Shape{0, 5});
  ops::linear_backward_weight(y, x, dw);
  CHECK(same_bits(dw, Tensor<float>({3, 5})));
  ops::linear_backward_bias(y, db);
  CHECK(same_bits(db, Tensor<float>({3})));
}

TEST_CASE("linear_backward_weight and _bias accumulate when asked", "[linear]") {
  const auto dy = random_integers<float>({4, 3}, 1);
  const auto x = random_integers<float>({4, 6}, 2);
  Tensor<float> once, twice, bias_once, bias_twice;
  ops::linear_backward_weight(dy, x, once);
  twice = once;
  ops::linear_backward_weight(dy, x, twice, true);
  ops::linear_backward_bias(dy, bias_once);
  bias_twice = bias_once;
  ops::linear_backward_bias(dy, bias_twice, true);
  for (index_t i = 0; i < once.numel(); ++i) CHECK(twice[i] == 2 * once[i]);
  for (index_t i = 0; i < bias_once.numel(); ++i) CHECK(bias_twice[i] == 2 * bias_once[i]);
}

TEST_CASE("linear's gradients match finite differences", "[linear][gradient]") {
  auto x = random_tensor<double>({3, 5}, 11);
  auto w = random_tensor<double>({4, 5}, 12);
  auto bias = random_tensor<double>({4}, 13);
  const auto c = random_tensor<double>({3, 4}, 14);
  const auto loss = [&] {
    Tensor<double> y;
    ops::linear(x, w, &bias, y);
    return dot(y, c);
  };
  Tensor<double> dx, dw, db;
  ops::linear_backward_input(c, w, dx);
  ops::linear_backward_weight(c, x, dw);
  ops::linear_backward_bias(c, db);
  check_gradient(x, dx, loss);
  check_gradient(w, dw, loss);
  check_gradient(bias, db, loss);
}

TEST_CASE("linear's results do not depend on the number of threads", "[linear][threads]") {
  const ThreadCountGuard guard;
  const auto x = random_tensor<float>({10, 203}, 21);
  const auto w = random_tensor<float>({107, 203}, 22);
  const auto dy = random_tensor<float>({10, 107}, 23);
  Tensor<float> y1, dx1, dw1, y, dx, dw;
  lora::set_num_threads(1);
  ops::linear<float>(x, w, nullptr, y1);
  ops::linear_backward_input(dy, w, dx1);
  ops::linear_backward_weight(dy, x, dw1);
  for (const int threads : {2, 3, 5}) {
    INFO(threads << " threads");
    lora::set_num_threads(threads);
    ops::linear<float>(x, w, nullptr, y);
    ops::linear_backward_input(dy, w, dx);
    ops::linear_backward_weight(dy, x, dw);
    CHECK(same_bits(y, y1));
    CHECK(same_bits(dx, dx1));
    CHECK(same_bits(dw, dw1));
  }
}

TEST_CASE("linear names the op and both shapes when they do not fit", "[linear][errors]") {
  const Tensor<float> x({10, 784}), w({1000, 785}), bias({7});
  Tensor<float> y;
  CHECK_THROWS_AS(ops::linear<float>(x, w, nullptr, y), lora::ShapeError);
  CHECK_THROWS_WITH(ops::linear<float>(x, w, nullptr, y),
                    contains("linear: x is (10, 784) on cpu, w is (1000, 785) on cpu"));
  CHECK_THROWS_WITH(ops::linear<float>(Tensor<float>({10, 785}), w, &bias, y),
                    contains("bias is (7,)"));
  CHECK_THROWS_AS(ops::linear_backward_input(x, w, y), lora::ShapeError);
  CHECK_THROWS_AS(ops::linear_backward_weight(x, w, y), lora::ShapeError);
  Tensor<float> small({2, 2});
  CHECK_THROWS_AS(ops::linear_backward_weight(x, x, small, true), lora::ShapeError);
  CHECK_THROWS_AS(ops::linear_backward_bias(x, small, true), lora::ShapeError);
}
