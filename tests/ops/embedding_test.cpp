// SPDX-License-Identifier: MIT
#include <lora/ops/embedding.hpp>

#include <cmath>
#include <vector>

#include "support/golden.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

/// `count` whole numbers in [0, size), some of them often.
template <class T>
Tensor<T> random_indices(Shape shape, index_t size, std::uint64_t seed) {
  Tensor<T> indices(shape);
  lora::PhiloxGenerator(seed).uniform(indices.span(), 0, 1);
  for (T& index : indices.span()) {
    index = std::floor(index * index * static_cast<T>(size));
  }
  return indices;
}

template <class T>
index_t index_at(const Tensor<T>& indices, index_t i) {
  return static_cast<index_t>(indices[i]);
}

}  // namespace

TEST_CASE("embedding looks rows up and keeps the sizes of the indices", "[embedding]") {
  const Tensor<float> weight({3, 2}, {1, 2, 3, 4, 5, 6});
  Tensor<float> y;
  ops::embedding(Tensor<float>({3}, {2, 0, 2}), weight, y);
  CHECK(same_bits(y, Tensor<float>({3, 2}, {5, 6, 1, 2, 5, 6})));
  ops::embedding(Tensor<float>({1, 2}, {1, 1}), weight, y);
  CHECK(same_bits(y, Tensor<float>({1, 2, 2}, {3, 4, 3, 4})));
  ops::embedding(Tensor<float>({1, 2}, {0, 2}), weight, y, true);
  CHECK(same_bits(y, Tensor<float>({1, 2, 2}, {4, 6, 8, 10})));
  ops::embedding(Tensor<float>({2, 1, 1}, {0, 2}), weight, y);
  CHECK(same_bits(y, Tensor<float>({2, 1, 1, 2}, {1, 2, 5, 6})));
  ops::embedding(Tensor<float>({4, 0}), weight, y);
  CHECK(y.shape() == Shape{4, 0, 2});
}

TEST_CASE("embedding_backward sums equal indices and leaves what does not occur", "[embedding]") {
  const Tensor<float> dy({3, 2}, {1, 2, 10, 20, 100, 200}), indices({3}, {2, 0, 2});
  Tensor<float> dw({3, 2}, {7, 7, 7, 7, 7, 7});
  ops::embedding_backward(dy, indices, dw, true);
  CHECK(same_bits(dw, Tensor<float>({3, 2}, {17, 27, 7, 7, 108, 209})));
  ops::embedding_backward(dy, indices, dw);
  CHECK(same_bits(dw, Tensor<float>({3, 2}, {10, 20, 0, 0, 101, 202})));
  ops::embedding_backward(Tensor<float>({0, 2}), Tensor<float>(Shape{0}), dw);
  CHECK(same_bits(dw, Tensor<float>({3, 2})));
}

TEST_CASE("embedding's sums keep the batch's order on any number of threads", "[embedding]") {
  const ThreadCountGuard guard;
  for (const index_t count : {0, 1, 10, 784, 1001}) {
    for (const index_t size : {1, 10, 65, 1300}) {
      for (const index_t cols : {1, 15, 16, 17, 100}) {
        INFO(count << " indices, weight (" << size << ", " << cols << ")");
        const auto indices = random_indices<float>({count}, size, 1);
        const auto weight = random_tensor<float>({size, cols}, 2);
        const auto dy = random_tensor<float>({count, cols}, 3);
        const auto a = random_tensor<float>({cols, size}, 4);
        Tensor<float> y({count, cols}), dw({size, cols}), h({count, cols}), da({cols, size});
        for (index_t i = 0; i < count; ++i) {
          const index_t v = index_at(indices, i);
          for (index_t j = 0; j < cols; ++j) {
            y(i, j) = weight(v, j);
            dw(v, j) += dy(i, j);
            h(i, j) = 2 * a(j, v);
            da(j, v) += 2 * dy(i, j);
          }
        }
        for (const int threads : {1, 3}) {
          lora::set_num_threads(threads);
          Tensor<float> out, gradient({size, cols}), columns_gradient({cols, size});
          ops::fill(gradient, NAN);
          ops::fill(columns_gradient, NAN);
          ops::embedding(indices, weight, out);
          REQUIRE(same_bits(out, y));
          ops::embedding_backward(dy, indices, gradient);
          REQUIRE(same_bits(gradient, dw));
          ops::embedding_columns(indices, a, out, 2);
          REQUIRE(same_bits(out, h));
          ops::embedding_columns_backward(dy, indices, columns_gradient, 2);
          REQUIRE(same_bits(columns_gradient, da));
        }
      }
    }
  }
}

TEST_CASE("embedding's gradients match finite differences", "[embedding][gradient]") {
  const auto indices = random_indices<double>({2, 5}, 6, 1);
  auto weight = random_tensor<double>({6, 3}, 2), a = random_tensor<double>({3, 6}, 3);
  const auto c = random_tensor<double>({2, 5, 3}, 4);
  Tensor<double> y, dw({6, 3}), da({3, 6});
  ops::embedding_backward(c, indices, dw);
  check_gradient(weight, dw, [&] {
    ops::embedding(indices, weight, y);
    return dot(y, c);
  });
  ops::embedding_columns_backward(c, indices, da, 0.3);
  check_gradient(a, da, [&] {
    ops::embedding_columns(indices, a, y, 0.3);
    return dot(y, c);
  });
  const Tensor<double> once = da;
  ops::embedding_columns_backward(c, indices, da, 0.3, true);
  for (index_t i = 0; i < da.numel(); ++i) REQUIRE(da[i] == Approx(2 * once[i]));
}

TEST_CASE("embedding and its columns agree with PyTorch", "[embedding][torch]") {
  const auto file = golden("embedding");
  const auto read = [&](const char* name) { return file.read<float>(name); };
  const Tensor<float> indices = read("indices");
  Tensor<float> y, dw({11, 6}), da({4, 11});
  ops::embedding(indices, read("weight"), y);
  CHECK(same_bits(y, read("y")));
  ops::embedding_backward(read("dy"), indices, dw);
  CHECK(max_error(dw, read("dweight")) < 1e-5);
  ops::embedding_columns(indices, read("lora_embedding_A"), y, 2.5);
  CHECK(max_error(y, read("scaled_h")) < 1e-5);
  ops::embedding_columns_backward(read("dh"), indices, da, 2.5);
  CHECK(max_error(da, read("dlora_embedding_A")) < 1e-5);
}

TEST_CASE("embedding refuses what is no index, before it writes", "[embedding][errors]") {
  const Tensor<float> weight({3, 2}), a({2, 3}), dy({2, 2, 2}, {1, 1, 1, 1, 1, 1, 1, 1});
  for (const float wrong : {-1.0f, 3.0f, 1.5f, NAN, INFINITY, 1e30f}) {
    INFO("index " << wrong);
    const Tensor<float> indices({2, 2}, {0, 1, 2, wrong});
    Tensor<float> y, dw({3, 2}), da({2, 3});
    CHECK_THROWS_AS(ops::embedding(indices, weight, y), lora::ValueError);
    CHECK_THROWS_AS(ops::embedding_columns(indices, a, y, 1), lora::ValueError);
    CHECK_THROWS_AS(ops::embedding_backward(dy, indices, dw), lora::ValueError);
    CHECK_THROWS_AS(ops::embedding_columns_backward(dy, indices, da, 1), lora::ValueError);
    CHECK(y.empty());
    CHECK(same_bits(dw, weight));
    CHECK(same_bits(da, a));
  }
  Tensor<float> y;
  CHECK_THROWS_WITH(
      ops::embedding(Tensor<float>({2, 2}, {0, 1, 2, 7.5f}), weight, y),
      "embedding: index 7.5 at position 3 of indices (2, 2) on cpu is no whole number "
      "from 0 to 2");
}

TEST_CASE("embedding refuses shapes that do not fit", "[embedding][errors]") {
  const Tensor<float> weight({3, 2}), indices({2, 2});
  Tensor<float> y, dw({3, 2});
  CHECK_THROWS_WITH(ops::embedding(Tensor<float>({1, 1, 1, 1}), weight, y),
                    contains("indices is (1, 1, 1, 1) on cpu, expected 1 to 3 sizes"));
  CHECK_THROWS_AS(ops::embedding(Tensor<float>(Shape{}), weight, y), lora::ShapeError);
  CHECK_THROWS_WITH(ops::embedding(indices, Tensor<float>({3}), y),
                    contains("embedding: weight is (3,) on cpu, expected two sizes"));
  CHECK_THROWS_WITH(ops::embedding(indices, weight, y, true), contains("y must be (2, 2, 2)"));
  CHECK_THROWS_WITH(ops::embedding_backward(Tensor<float>({4, 2}), indices, dw),
                    contains("dy is (4, 2)") && contains("dy must be (2, 2, 2)"));
  CHECK_THROWS_WITH(ops::embedding_columns_backward(Tensor<float>({2, 2, 2}), indices, dw, 1),
                    contains("embedding_columns_backward") && contains("dh must be (2, 2, 3)"));
}
