// SPDX-License-Identifier: MIT
#include "mnist_lora/replay.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <lora/error.hpp>
#include <lora/torch_generator.hpp>

#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;
using lora::index_t;

index_t replayed_images(const lora::LabeledImages& train, const Settings& settings) {
  const auto labels = train.labels.span();
  const auto targets = static_cast<double>(std::count_if(
      labels.begin(), labels.end(), [&](int digit) { return is_target(settings, digit); }));
  const double others = static_cast<double>(labels.size()) - targets;
  const double wanted = std::round(settings.replay / (1 - settings.replay) * targets);
  if (wanted > others) {
    throw lora::ValueError(format(
        "--replay: a share of %g takes %.0f images of other digits beside %.0f of the target "
        "digits, and there are %.0f: expected at most %.4g",
        settings.replay, wanted, targets, others,
        std::floor(1e4 * others / (others + targets)) / 1e4));
  }
  return static_cast<index_t>(wanted);
}

lora::LabeledImages finetuning_set(const lora::LabeledImages& train, const Settings& settings) {
  std::vector<index_t> chosen, others;
  for (index_t i = 0; i < train.size(); ++i) {
    (is_target(settings, train.labels[i]) ? chosen : others).push_back(i);
  }
  const auto replayed = static_cast<std::size_t>(replayed_images(train, settings));
  const std::vector<index_t> order =
      lora::TorchGenerator(settings.seed).randperm(static_cast<index_t>(others.size()));
  for (const index_t i : std::span(order).first(replayed)) {
    chosen.push_back(others[static_cast<std::size_t>(i)]);
  }
  std::sort(chosen.begin(), chosen.end());

  const index_t pixels = train.images.dim(1);
  const auto count = static_cast<index_t>(chosen.size());
  lora::LabeledImages set{lora::Tensor<std::uint8_t>({count, pixels}),
                          lora::Tensor<std::int32_t>({count})};
  for (index_t i = 0; i < count; ++i) {
    const index_t from = chosen[static_cast<std::size_t>(i)];
    std::copy_n(train.images.data() + from * pixels, pixels, set.images.data() + i * pixels);
    set.labels[i] = train.labels[from];
  }
  return set;
}

}  // namespace mnist_lora
