// SPDX-License-Identifier: MIT
#include <lora/ops/dot.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <lora/optim/clip_grad_norm.hpp>

#include "kernels/support.hpp"
#include "support/models.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

double factored_norm(const Tensor<float>& dy, const Tensor<float>& x, Device device) {
  Tensor<double> results = Tensor<double>({3}, {-1, -1, -1}).to(device);
  ops::squared_norm_factored(dy.to(device), x.to(device), results, 1);
  results = results.to(Device::cpu);
  CHECK(results[0] == -1);
  CHECK(results[2] == -1);
  return results[1];
}

}  // namespace

TEST_CASE("dot on cuda sums all products", "[kernels][dot]") {
  for (const index_t size : kSizes) {
    INFO("size " << size << ", seeds 1 and 2");
    const auto x = random_tensor<float>({size}, 1), y = random_tensor<float>({size}, 2);
    double magnitude = 0;
    for (index_t i = 0; i < size; ++i) magnitude += std::fabs(double{x[i]} * double{y[i]});
    CHECK(std::fabs(ops::dot(on_gpu(x), on_gpu(y)) - ops::dot(x, y)) <= 1e-13 * magnitude);
    const auto integers = random_integers<float>({size}, 3);
    CHECK(ops::dot(on_gpu(integers), on_gpu(integers)) == ops::dot(integers, integers));
  }
}

TEST_CASE("dot on cuda has the same bits at any address and reads nothing beside it",
          "[kernels][dot]") {
  for (const index_t size : {0, 1, 6, 1023, 4099}) {
    const Tensor<float> x = random_tensor<float>({size}, 1), y = random_tensor<float>({size}, 2);
    const double expected = ops::dot(on_gpu(x), on_gpu(y));
    for (const index_t begin : {1, 2, 3}) {
      INFO("size " << size << ", from element " << begin);
      Tensor<float> around({size + 8});
      ops::fill(around, NAN);
      std::copy_n(x.data(), size, around.data() + begin);
      const Tensor<float> shifted = on_gpu(around), other = on_gpu(y);
      Tensor<double> result({1}, Device::cuda);
      REQUIRE(lora::detail::backend().dot({shifted.data() + begin, size}, other.vector(),
                                          result.data(), nullptr) == 0);
      CHECK(on_cpu(result)[0] == expected);
    }
  }
}

TEST_CASE("squared_norm_factored on cuda gives the CPU's norm", "[kernels][dot]") {
  for (const auto& [batch, out, in] : {std::array<index_t, 3>{0, 4, 5},
                                       {1, 1, 1},
                                       {1, 784, 10},
                                       {2, 10, 33},
                                       {3, 31, 7},
                                       {10, 129, 130},
                                       {11, 1300, 65},
                                       {64, 9, 10}}) {
    INFO("(" << batch << ", " << out << ") and (" << batch << ", " << in << "), seeds 1 to 4");
    const auto dy = random_tensor<float>({batch, out}, 1), x = random_tensor<float>({batch, in}, 2);
    CHECK(factored_norm(dy, x, Device::cuda) ==
          approx(factored_norm(dy, x, Device::cpu)).epsilon(1e-12));
    const auto dy_integers = random_integers<float>({batch, out}, 3);
    const auto x_integers = random_integers<float>({batch, in}, 4);
    CHECK(factored_norm(dy_integers, x_integers, Device::cuda) ==
          factored_norm(dy_integers, x_integers, Device::cpu));
  }
}

TEST_CASE("squared_norm_factored on cuda of rows that cancel is 0", "[kernels][dot]") {
  Tensor<float> dy = random_tensor<float>({2, 50}, 1);
  Tensor<float> x({2, 40});
  ops::fill(x, 0.3);
  for (index_t k = 0; k < 50; ++k) dy(1, k) = -dy(0, k);
  CHECK(factored_norm(dy, x, Device::cuda) == 0);
}

TEST_CASE("clip_grad_norm on cuda clips as on the CPU", "[kernels][clip]") {
  const auto clip = [](Device device) {
    auto net = small_net<float>(1, 65, 70, 5);
    net.to(device);
    const auto x = random_tensor<float>({4, 65}, 2).to(device);
    lora::Saved<float> saved;
    net.forward(x, saved);
    net.backward(random_tensor<float>({4, 5}, 3).to(device), saved);
    std::vector<Tensor<float>> results{
        Tensor<float>({1}, {static_cast<float>(lora::clip_grad_norm(net.parameters(), 0.5))})};
    CHECK(net.parameters()[0]->grad.is_factored());
    for (auto* parameter : net.parameters()) results.push_back(on_cpu(parameter->grad.dense()));
    return results;
  };
  const auto gpu = clip(Device::cuda), cpu = clip(Device::cpu);
  CHECK(cpu[0][0] > 1);
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    INFO("result " << i << ", seeds 1 to 3");
    CHECK(max_error(gpu[i], cpu[i]) < 1e-5);
  }
}
