// SPDX-License-Identifier: MIT
// A program that g++ compiles and that has the kernels: it runs an op on the GPU, or says in one
// sentence why there is none.
#include <cstdio>

#include <lora/cuda.hpp>
#include <lora/lora.hpp>

int main() {
  const std::string reason = lora::why_unavailable(lora::Device::cuda);
  if (!reason.empty()) {
    std::puts(reason.c_str());
    const bool is_about_this_machine = reason.find("device cuda is not there: ") == 0 &&
                                       reason.find("built without") > reason.size();
    return is_about_this_machine ? 0 : 1;
  }
  lora::Tensor<float> x({3}, lora::Device::cuda);
  lora::ops::fill(x, 2.0);
  return x.to(lora::Device::cpu)[2] == 2.0f ? 0 : 1;
}
