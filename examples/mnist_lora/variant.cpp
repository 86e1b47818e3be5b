// SPDX-License-Identifier: MIT
#include "mnist_lora/variant.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

#include <lora/nn/lora_init.hpp>

#include "support/format.hpp"

namespace mnist_lora {

using example_support::format;
using lora::index_t;

namespace {

constexpr const char* kLastLayer = "linear4";

int last_rank(const Settings& settings) {
  return std::min(settings.rank, settings.init == "lora_ga" ? 5 : 10);
}

}  // namespace

const char* const kInitNames =
    "normal, kaiming, gaussian, orthogonal, olora, pissa, pissa_niter_N, lora_ga";

lora::LoRAInit init_of(const std::string& name) {
  if (name == "normal") return lora::LoRAInit::standard_normal;
  if (name == "kaiming") return lora::LoRAInit::kaiming_uniform;
  if (name == "gaussian") return lora::LoRAInit::gaussian;
  if (name == "orthogonal") return lora::orthogonal();
  if (name == "olora") return lora::olora();
  if (name == "pissa") return lora::pissa();
  if (name == "lora_ga") return lora::lora_ga();
  constexpr std::string_view kNiter = "pissa_niter_";
  if (name.starts_with(kNiter)) {
    int iterations = 0;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kNiter.size(), end, iterations);
    if (error == std::errc() && rest == end && iterations > 0) return lora::pissa(iterations);
  }
  throw lora::ValueError("\"" + name + "\" is no initialisation; there are: " + kInitNames);
}

lora::LoRAConfig lora_config(const Settings& settings) {
  lora::LoRAConfig config{.r = settings.rank, .lora_alpha = settings.alpha};
  if (caps_last_rank(settings)) config.rank_pattern = {{kLastLayer, last_rank(settings)}};
  config.lora_dropout = settings.lora_dropout;
  config.use_rslora = settings.use_rslora;
  config.use_dora = settings.use_dora;
  config.init_lora_weights = init_of(settings.init);
  return config;
}

void require_possible(const Settings& settings) {
  const auto require = [&](bool condition, const char* expected) {
    if (!condition) {
      throw lora::ValueError(format("rank %d with %s cannot be: expected %s", settings.rank,
                                    settings.init.c_str(), expected));
    }
  };
  require(settings.init != "orthogonal" || settings.rank % 2 == 0, "an even rank");
  require(settings.init != "lora_ga" || settings.rank <= 392, "a rank of at most 392");
  require(!settings.use_dora || init_of(settings.init).product_is_zero,
          "an adapter that starts at zero, for DoRA");
}

bool caps_last_rank(const Settings& settings) { return last_rank(settings) < settings.rank; }

std::string adapted_weight_text(const Settings& settings) {
  std::string text =
      init_of(settings.init).product_is_zero ? "W + scale B A" : "W + scale (B A - B0 A0)";
  if (settings.use_dora) text = "m / |" + text + "| (" + text + ") row by row";
  return text;
}

std::string variant_text(const Settings& settings) {
  std::string text = format("rank %d, alpha %g", settings.rank, settings.alpha);
  if (caps_last_rank(settings)) text += format(" (rank %d on the last layer)", last_rank(settings));
  const Settings plain;
  if (settings.init != plain.init) text += ", init " + settings.init;
  if (settings.use_rslora) text += ", rsLoRA";
  if (settings.use_dora) text += ", DoRA";
  if (settings.lora_dropout > 0) text += format(", dropout %g", settings.lora_dropout);
  return text;
}

std::string training_text(const Settings& settings) {
  std::string text = format("%d batches, learning rate %g", settings.finetune_batches,
                            settings.finetune_lr > 0 ? settings.finetune_lr : settings.lr);
  if (settings.loraplus_lr_ratio != 1)
    text += format(", %g times that for B", settings.loraplus_lr_ratio);
  if (settings.replay > 0) text += format(", %g of the images of other digits", settings.replay);
  return text;
}

bool is_adapted_weight(const lora::LoRALinear<float>& layer, double scale) {
  const auto on_cpu = [](const lora::Tensor<float>& x) { return x.to(lora::Device::cpu); };
  const lora::LoRAAdapter<float>& adapter = layer.adapter();
  const lora::Tensor<float> found = on_cpu(layer.effective_weight());
  const lora::Tensor<float> w = on_cpu(layer.base().weight.value);
  const lora::Tensor<float> a = on_cpu(adapter.lora_A.value), b = on_cpu(adapter.lora_B.value);
  const lora::Tensor<float> a0 = on_cpu(adapter.initial_A), b0 = on_cpu(adapter.initial_B);
  const lora::Tensor<float> magnitude = on_cpu(adapter.magnitude.value);
  const auto columns = static_cast<std::size_t>(w.dim(1));
  std::vector<double> row(columns), size(columns);
  const auto add_product = [&](index_t o, const lora::Tensor<float>& left,
                               const lora::Tensor<float>& right, double factor) {
    for (index_t r = 0; r < right.dim(0); ++r) {
      for (std::size_t k = 0; k < columns; ++k) {
        const double term = factor * double{left(o, r)} * double{right(r, static_cast<index_t>(k))};
        row[k] += term;
        size[k] += std::abs(term);
      }
    }
  };
  for (index_t o = 0; o < w.dim(0); ++o) {
    for (std::size_t k = 0; k < columns; ++k) {
      row[k] = double{w(o, static_cast<index_t>(k))};
      size[k] = std::abs(row[k]);
    }
    add_product(o, b, a, scale);
    if (adapter.has_initial_values()) add_product(o, b0, a0, -scale);
    double gain = 1;
    if (adapter.uses_dora()) {
      double square = 0;
      for (const double element : row) square += element * element;
      gain = double{magnitude[o]} / std::sqrt(square);
    }
    for (std::size_t k = 0; k < columns; ++k) {
      // Where a sum in double is that close to the middle of two floats, either is right.
      const double slack = 1e-12 * std::abs(gain) * size[k];
      const float element = found(o, static_cast<index_t>(k));
      const auto low = static_cast<float>(gain * row[k] - slack);
      const auto high = static_cast<float>(gain * row[k] + slack);
      if (!(low <= element && element <= high)) return false;
    }
  }
  return true;
}

}  // namespace mnist_lora
