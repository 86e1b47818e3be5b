// SPDX-License-Identifier: MIT
#include "gpu/ceilings.hpp"

#include <cmath>
#include <string>

#include "gpu/cublas.hpp"
#include "gpu/data.hpp"
#include "gpu/kernels.hpp"

namespace lora_bench {

namespace {

constexpr lora::Device kGpu = lora::Device::cuda;

void require(bool is_right, const char* name) {
  if (!is_right) throw lora::DeviceError(std::string(name) + ": wrong, and not worth timing");
}

Ceiling measure_copy(const Tensor<float>& x) {
  Tensor<float> y;
  y.resize(x.shape(), kGpu);
  const double bytes = byte_count(x);
  const auto copy = [&](int) {
    check(cudaMemcpyAsync(y.data(), x.data(), static_cast<std::size_t>(bytes),
                          cudaMemcpyDeviceToDevice, current_stream()),
          "copy");
  };
  copy(0);
  require(difference(y, x.to(lora::Device::cpu), 0).empty(), "copy");
  return {time({copy}), 2 * bytes};
}

Ceiling measure_read(const Tensor<float>& x) {
  Tensor<float> sums;
  sums.resize({kReadBlocks}, kGpu);
  const auto read = [&](int) {
    check(launch_read(x.data(), x.numel(), sums.data(), current_stream()), "read");
  };
  read(0);
  double sum = 0;
  for (const float of_block : sums.to(lora::Device::cpu).span()) sum += double{of_block};
  double expected = 0;
  double magnitude = 0;
  for (const float element : x.to(lora::Device::cpu).span()) {
    expected += double{element};
    magnitude += std::fabs(double{element});
  }
  require(std::fabs(sum - expected) <= 1e-6 * magnitude, "read");
  return {time({read}), byte_count(x)};
}

/// A few elements of y = x Wᵀ against sums in double.
void check_product(const Tensor<float>& x, const Tensor<float>& w, const Tensor<float>& gpu_y) {
  const Tensor<float> y = gpu_y.to(lora::Device::cpu);
  const index_t size = x.dim(1);
  for (index_t sample = 0; sample < 200; ++sample) {
    const index_t i = (sample * 7919 + 8191) % y.dim(0);
    const index_t j = (sample * 6007 + 8191) % y.dim(1);
    double sum = 0;
    for (index_t k = 0; k < size; ++k) sum += double{x(i, k)} * double{w(j, k)};
    require(std::fabs(double{y(i, j)} - sum) <= 1e-4 * std::sqrt(static_cast<double>(size)),
            "cublasSgemm");
  }
}

Ceiling measure_matrix() {
  if (!cublas::is_there()) return {{}, 0};
  constexpr index_t kSize = 8192;
  const Tensor<float> x = random({kSize, kSize}, 1);
  const Tensor<float> w = random({kSize, kSize}, 2);
  const Tensor<float> gpu_x = x.to(kGpu);
  const Tensor<float> gpu_w = w.to(kGpu);
  Tensor<float> y({0}, kGpu);
  const auto multiply = [&](int) { cublas::linear(gpu_x, gpu_w, y); };
  multiply(0);
  check_product(x, w, y);
  return {time({multiply}), 2.0 * kSize * kSize * kSize};
}

Ceilings measure() {
  Ceilings c{};
  {
    const Tensor<float> x = random({index_t{1} << 28}, 3).to(kGpu);  // 1 GiB
    c.copy = measure_copy(x);
    c.read = measure_read(x);
  }
  c.matrix = measure_matrix();
  c.node = time({[](int) { check(launch_nothing(current_stream()), "empty kernel"); }});
  return c;
}

}  // namespace

const Ceilings& ceilings() {
  static const Ceilings measured = measure();
  return measured;
}

}  // namespace lora_bench
