// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <string>

#include <nlohmann/json.hpp>

#include <lora/nn/parameter_count.hpp>

#include "lora_adapter/adapter_report.hpp"
#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;

// A norm in nine places, "-" where there is none.
std::string norm_text(double norm) { return norm < 0 ? "        -" : format("%9.4g", norm); }

std::string join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

std::string table(const AdapterReport& report) {
  std::size_t width = 6;
  for (const LayerReport& layer : report.layers) width = std::max(width, layer.module.size());
  const auto padded = [&](const std::string& text) {
    return text + std::string(width - text.size(), ' ');
  };
  std::string text = padded("module") +
                     "   rank     alpha     scale       |A|       |B|    |s BA|" + "  spectral" +
                     (report.base_parameters ? "     ratio" : "") + "\n";
  for (const LayerReport& layer : report.layers) {
    text += padded(layer.module) + format("  %5lld %9.4g %9.4g", static_cast<long long>(layer.rank),
                                          layer.alpha, layer.scale);
    for (const double norm : {layer.norm_a, layer.norm_b, layer.update, layer.spectral}) {
      text += " " + norm_text(norm);
    }
    if (report.base_parameters) {
      text += " " + norm_text(layer.base > 0 && layer.update >= 0 ? layer.update / layer.base : -1);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string to_text(const AdapterReport& report) {
  std::string text = table(report) + "\n";
  if (report.base_parameters) {
    text += lora::to_string(lora::ParameterCount{report.parameters,
                                                 report.base_parameters + report.parameters}) +
            "\n";
  } else {
    text += "trainable params: " + lora::with_thousands_separators(report.parameters) + "\n";
  }
  std::string dtypes;
  for (const auto& [dtype, count] : report.dtypes) {
    dtypes += (dtypes.empty() ? "" : ", ") +
              format("%lld tensors of %s", static_cast<long long>(count), dtype.c_str());
  }
  text +=
      format("%zu layers, %s bytes: ", report.layers.size(),
             lora::with_thousands_separators(static_cast<lora::index_t>(report.bytes)).c_str()) +
      dtypes + "\n";
  if (!report.kinds.empty()) text += "with " + join(report.kinds) + "\n";
  if (!report.replaced.empty()) text += "takes the place of " + join(report.replaced) + "\n";
  for (const std::string& note : report.notes) text += "note: " + note + "\n";
  return text;
}

std::string to_json(const AdapterReport& report) {
  const auto norm_or_null = [](double norm) {
    return norm < 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(norm);
  };
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerReport& layer : report.layers) {
    layers.push_back({{"module", layer.module},
                      {"rank", layer.rank},
                      {"alpha", layer.alpha},
                      {"scale", layer.scale},
                      {"norm_A", layer.norm_a},
                      {"norm_B", layer.norm_b},
                      {"norm_update", norm_or_null(layer.update)},
                      {"spectral_norm_update", norm_or_null(layer.spectral)},
                      {"norm_base", norm_or_null(layer.base)}});
  }
  const nlohmann::ordered_json json = {
      {"layers", layers},
      {"parameters", report.parameters},
      {"base_parameters", report.base_parameters ? nlohmann::ordered_json(report.base_parameters)
                                                 : nlohmann::ordered_json(nullptr)},
      {"bytes", report.bytes},
      {"dtypes", report.dtypes},
      {"kinds", report.kinds},
      {"replaced", report.replaced},
      {"notes", report.notes}};
  return json.dump(2);
}

}  // namespace lora_adapter
