// SPDX-License-Identifier: MIT
#include <lora/tensor.hpp>

#include <utility>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::Device;

TEST_CASE("a new Tensor is zero", "[tensor]") {
  const Tensor<float> x({3, 4});
  CHECK(x.numel() == 12);
  for (const float value : x.span()) CHECK(value == 0);
}

TEST_CASE("a Tensor of no shape is empty", "[tensor]") {
  const Tensor<double> x;
  CHECK(x.empty());
  CHECK(x.shape() == Shape{0});
  CHECK(x.device() == Device::cpu);
}

TEST_CASE("Tensor takes row-major values", "[tensor]") {
  const Tensor<int> x({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(x(0, 2) == 3);
  CHECK(x(1, 0) == 4);
  CHECK(x[5] == 6);
  CHECK_THROWS_WITH(Tensor<int>({2, 3}, {1, 2}), contains("(2, 3) takes 6 values, got 2"));
}

TEST_CASE("copying a Tensor copies its elements", "[tensor]") {
  Tensor<float> x({2}, {1, 2});
  Tensor<float> y = x;
  y[0] = 9;
  CHECK(x[0] == 1);
  x = y;
  CHECK(x[0] == 9);
  CHECK(x.data() != y.data());
}

TEST_CASE("moving a Tensor moves its memory and empties it", "[tensor]") {
  Tensor<float> x({2}, {1, 2});
  const float* data = x.data();
  Tensor<float> y = std::move(x);
  CHECK(y.data() == data);
  CHECK(x.empty());
  Tensor<float> z;
  z = std::move(y);
  CHECK(z.data() == data);
  CHECK(y.empty());
}

TEST_CASE("resize allocates only to grow", "[tensor]") {
  Tensor<float> x({10, 10});
  const float* data = x.data();
  x.resize({5, 20});
  CHECK(x.data() == data);
  x.resize({3});
  x.resize({100});
  CHECK(x.data() == data);
  x.resize({101});
  CHECK(x.shape() == Shape{101});
}

TEST_CASE("memory begins at a cache line", "[tensor]") {
  for (index_t size = 1; size < 40; ++size) {
    const Tensor<std::uint8_t> x({size});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  }
}

TEST_CASE("views show the tensor's elements", "[tensor]") {
  Tensor<float> x({2, 3}, {1, 2, 3, 4, 5, 6});
  const lora::MatrixView<float> m = x.matrix();
  CHECK(m.rows == 2);
  CHECK(m.cols == 3);
  m(1, 2) = 60;
  CHECK(x(1, 2) == 60);
  CHECK(m.row(1)[0] == 4);
  CHECK(x.vector()[5] == 60);
  const lora::MatrixView<float> rows = Tensor<float>({2, 3, 4}).matrix();
  CHECK(rows.rows == 6);
  CHECK(rows.cols == 4);
  CHECK_THROWS_WITH(Tensor<float>({3}).matrix(), contains("a matrix has two sizes"));
}

TEST_CASE("to(cpu) is a copy", "[tensor]") {
  const Tensor<float> x({2}, {1, 2});
  const Tensor<float> y = x.to(Device::cpu);
  CHECK(same_bits(x, y));
  CHECK(x.data() != y.data());
}

TEST_CASE("describe names shape and device", "[tensor]") {
  CHECK(lora::describe(Tensor<float>({10, 784})) == "(10, 784) on cpu");
}

TEST_CASE("a tensor of zero elements can be copied and moved", "[tensor]") {
  const Tensor<float> x({0, 5});
  Tensor<float> y = x;
  CHECK(y.shape() == Shape{0, 5});
  CHECK(y.to(Device::cpu).shape() == Shape{0, 5});
  CHECK(y.span().empty());
}
