// SPDX-License-Identifier: MIT
#include "attention_lora/sample.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <lora/random.hpp>

#include "attention_lora/texts.hpp"

namespace attention_lora {

using lora::index_t;
using lora::Tensor;

namespace {

// `chance` is uniform in [0, 1).
std::size_t draw(std::span<const float> logits, double temperature, double chance) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (temperature == 0) return static_cast<std::size_t>(likeliest - logits.begin());
  std::vector<double> weights;
  double sum = 0;
  for (const float logit : logits) {
    weights.push_back(std::exp((double{logit} - double{*likeliest}) / temperature));
    sum += weights.back();
  }
  double left = chance * sum;
  std::size_t code = 0;
  while (code + 1 < weights.size() && left >= weights[code]) left -= weights[code++];
  return code;
}

}  // namespace

std::string write_sample(const lora::Module<float>& net, lora::Device device, index_t context,
                         int count, double temperature, std::uint64_t seed) {
  lora::PhiloxGenerator generator(seed);
  std::vector<double> chances(static_cast<std::size_t>(count));
  generator.uniform(chances, 0, 1);
  std::vector<float> codes = encode("\n");
  std::string text;
  for (const double chance : chances) {
    const std::size_t seen = std::min(codes.size(), static_cast<std::size_t>(context));
    Tensor<float> x({1, static_cast<index_t>(seen)});
    std::copy(codes.end() - static_cast<std::ptrdiff_t>(seen), codes.end(), x.data());
    const Tensor<float> logits = net.forward(x.to(device)).to(lora::Device::cpu);
    const std::size_t code = draw(logits.span().last(kCharacters.size()), temperature, chance);
    codes.push_back(static_cast<float>(code));
    text += kCharacters[code];
  }
  return text;
}

}  // namespace attention_lora
