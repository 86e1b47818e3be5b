// SPDX-License-Identifier: MIT
#include <lora/ops/dora.hpp>

#include <cmath>
#include <limits>

#include "kernels/linear_support.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

constexpr double kScale = 0.75;

const LayerSizes kLayers[] = {{0, 5, 3, 1},      {1, 1, 1, 1},      {10, 784, 100, 1},
                              {10, 1300, 10, 2}, {7, 65, 63, 3},    {2, 100, 65, 8},
                              {10, 1001, 33, 1}, {3, 8200, 5, 1},   {70, 66, 40, 4},
                              {4, 40, 70, 67},   {10, 64, 129, 16}, {3, 12, 1, 0}};

struct Results {
  Tensor<float> u, wa, squares, norms, gains;
};

Results run(const LayerOperands& o, const Tensor<float>& magnitude, Device device) {
  const auto x = o.x.to(device), w = o.w.to(device), a = o.a.to(device), b = o.b.to(device);
  Results r;
  ops::dora_linear(x, a, w, r.u, r.wa, r.squares);
  ops::dora_gains(r.wa, 0, r.squares, a, b, w, magnitude.to(device), kScale, r.norms, r.gains);
  for (Tensor<float>* t : {&r.u, &r.wa, &r.squares, &r.norms, &r.gains}) *t = on_cpu(*t);
  return r;
}

/// The largest |x - y| / |y|; infinite where one is a NaN and the other is not.
double relative_error(const Tensor<float>& x, const Tensor<float>& y) {
  double worst = 0;
  for (index_t i = 0; i < x.numel(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double error = std::fabs((double{x[i]} - double{y[i]}) / double{y[i]});
    worst = error <= worst ? worst : std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

}  // namespace

TEST_CASE("dora_linear on cuda is exact on small whole numbers, u has linear's bits",
          "[kernels][dora]") {
  std::uint64_t seed = 100;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    const LayerOperands o(s, true, seed += 10);
    const Tensor<float> magnitude = random_tensor<float>({s.out}, seed);
    const Results cuda = run(o, magnitude, Device::cuda);
    const Results cpu = run(o, magnitude, Device::cpu);
    CHECK(same_bits(cuda.u, cpu.u));
    CHECK(same_bits(cuda.wa, cpu.wa));
    CHECK(same_bits(cuda.squares, cpu.squares));
    // The norms' sums are exact too, in double.
    CHECK(relative_error(cuda.norms, cpu.norms) <= 1.2e-7);
    CHECK(relative_error(cuda.gains, cpu.gains) <= 2.4e-7);
    const Tensor<float> x = random_tensor<float>(o.x.shape(), seed);
    Tensor<float> u, wa, squares, expected;
    ops::dora_linear(on_gpu(x), on_gpu(o.a), on_gpu(o.w), u, wa, squares);
    ops::linear<float>(on_gpu(x), on_gpu(o.w), nullptr, expected);
    CHECK(same_bits(on_cpu(u), on_cpu(expected)));
  }
}

TEST_CASE("norms and gains on cuda are the CPU's", "[kernels][dora]") {
  std::uint64_t seed = 1000;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s) << ", seed " << seed);
    LayerOperands o(s, false, seed += 10);
    const Tensor<float> magnitude = random_tensor<float>({s.out}, seed);
    // Every third row of W is all but taken away, one is gone and one a NaN.
    for (index_t row = 0; row < s.out; ++row) {
      for (index_t k = 0; row % 3 == 1 && k < s.in; ++k) {
        double product = 0;
        for (index_t r = 0; r < s.rank; ++r) product += double{o.b(row, r)} * double{o.a(r, k)};
        o.w(row, k) = static_cast<float>(-kScale * product + 1e-4 * double{o.w(row, k)});
      }
      for (index_t k = 0; row == 2 && k < s.in; ++k) o.w(row, k) = 0;
      for (index_t r = 0; row == 2 && r < s.rank; ++r) o.b(row, r) = 0;
    }
    if (s.out > 10) o.w(9, s.in / 2) = std::numeric_limits<float>::quiet_NaN();
    const Results cuda = run(o, magnitude, Device::cuda);
    const Results cpu = run(o, magnitude, Device::cpu);
    CHECK(relative_error(cuda.norms, cpu.norms) <= 5e-6);
    CHECK(relative_error(cuda.gains, cpu.gains) <= 5e-6);
    if (s.out > 2) CHECK(cuda.gains[2] == 0);
    Tensor<float> dm = random_tensor<float>({s.out}, seed), gpu_dm = on_gpu(dm);
    for (const bool accumulate : {true, false}) {
      ops::dora_backward_magnitude(magnitude, cuda.norms, dm, accumulate);
      ops::dora_backward_magnitude(on_gpu(magnitude), on_gpu(cuda.norms), gpu_dm, accumulate);
      CHECK(relative_error(on_cpu(gpu_dm), dm) == 0);
    }
  }
}

TEST_CASE("dora_gains on cuda takes its rows out of several adapters'", "[kernels][dora]") {
  const auto w = on_gpu(random_tensor<float>({37, 50}, 1)), x = on_gpu(Tensor<float>({2, 50}));
  const auto all = random_tensor<float>({5, 50}, 2);
  const auto b = on_gpu(random_tensor<float>({37, 2}, 3)), m = on_gpu(Tensor<float>({37}));
  Tensor<float> a({2, 50}), u, wa, squares, norms, gains, own_wa, own_norms;
  for (index_t i = 0; i < a.numel(); ++i) a[i] = all[3 * 50 + i];
  a = on_gpu(a);
  ops::dora_linear(x, on_gpu(all), w, u, wa, squares);
  ops::dora_gains(wa, 3, squares, a, b, w, m, kScale, norms, gains);
  ops::dora_linear(x, a, w, u, own_wa, squares);
  ops::dora_gains(own_wa, 0, squares, a, b, w, m, kScale, own_norms, gains);
  CHECK(relative_error(on_cpu(norms), on_cpu(own_norms)) <= 1e-6);
}

TEST_CASE("dora_scale_rows gives the CPU's bits, at any address", "[kernels][dora]") {
  for (const auto& [rows, cols] : kShapes) {
    for (const index_t offset : {0, 1}) {
      INFO("W is (" << rows << ", " << cols << "), offset " << offset);
      Tensor<float> w = random_tensor<float>({rows, cols}, 1);
      const Tensor<float> gains = random_tensor<float>({rows}, 2), gpu_gains = on_gpu(gains);
      EmbeddedMatrix embedded(w, offset, offset);
      REQUIRE(lora::detail::backend().dora_scale_rows(gpu_gains.vector(), embedded.view(),
                                                      nullptr) == 0);
      ops::dora_scale_rows(gains, w);
      CHECK(same_bits(embedded.values(), w));
    }
  }
}

TEST_CASE("dora_linear on cuda reads matrices at any address", "[kernels][dora]") {
  for (const LayerSizes& s : {LayerSizes{3, 66, 9, 2}, LayerSizes{3, 1030, 9, 1}}) {
    INFO(text(s));
    const LayerOperands o(s, true, 7);
    Tensor<float> u, wa, squares;
    ops::dora_linear(o.x, o.a, o.w, u, wa, squares);
    EmbeddedMatrix x(o.x, 1, 3), a(o.a, 2, 1), w(o.w, 3, 3);
    EmbeddedMatrix gpu_u(u, 1, 1), gpu_wa(wa, 1, 1);
    Tensor<float> gpu_squares = on_gpu(Tensor<float>({s.out}));
    REQUIRE(lora::detail::backend().dora_linear(x.view(), a.view(), w.view(), gpu_u.view(),
                                                gpu_wa.view(), gpu_squares.vector(), nullptr) == 0);
    CHECK(same_bits(gpu_u.values(), u));
    CHECK(same_bits(gpu_wa.values(), wa));
    CHECK(same_bits(on_cpu(gpu_squares), squares));
  }
}
