// SPDX-License-Identifier: MIT
#include "support/checks.hpp"

#include <cmath>
#include <cstring>

namespace example_support {

bool same_bits(const lora::Tensor<float>& x, const lora::Tensor<float>& y) {
  const lora::Tensor<float> a = x.to(lora::Device::cpu), b = y.to(lora::Device::cpu);
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.span().size_bytes()) == 0;
}

void require_finite(double loss, const std::string& label, lora::index_t batch) {
  if (std::isfinite(loss)) return;
  throw lora::Error(label + ": the loss is " + std::to_string(loss) + " at batch " +
                    std::to_string(batch) + "; a smaller --lr may help");
}

}  // namespace example_support
