// SPDX-License-Identifier: MIT
#include "lora_adapter/adapter_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>

#include <lora/cpu/dot.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/io/tensor_merge.hpp>
#include <lora/linalg/low_rank_norms.hpp>
#include <lora/linalg/matrix.hpp>

#include "support/format.hpp"

namespace lora_adapter {

namespace {

using example_support::format;
using lora::index_t;
using lora::Tensor;

Tensor<float> as_matrix(const Tensor<float>& x) {
  Tensor<float> matrix = x;
  matrix.reshape({x.dim(0), x.numel() / x.dim(0)});
  return matrix;
}

LayerReport inspect_layer(const std::string& path, const lora::AdapterLayer<float>& layer) {
  const bool is_grouped =
      layer.lora_A.shape().rank() == 4 && layer.lora_B.dim(1) != layer.lora_A.dim(0);
  LayerReport report{
      .module = path, .rank = layer.rank(), .alpha = layer.lora_alpha, .scale = layer.scale};
  const Tensor<float> a = as_matrix(layer.lora_A), b = as_matrix(layer.lora_B);
  const Tensor<float> b_transposed = lora::linalg::detail::transpose(b);
  // Of a product that is none, the two factors' norms alone.
  const auto norms = lora::linalg::low_rank_norms(is_grouped ? a : b_transposed, a);
  report.norm_a = norms.a;
  report.norm_b = is_grouped ? lora::linalg::low_rank_norms(b_transposed, b_transposed).b : norms.b;
  report.update = is_grouped ? -1 : std::fabs(layer.scale) * norms.frobenius;
  report.spectral = is_grouped ? -1 : std::fabs(layer.scale) * norms.spectral;
  return report;
}

// ‖W‖ of a tensor of a file, some elements at a time.
double norm_of(const lora::SafetensorsFile& file, const std::string& name) {
  constexpr std::size_t kElements = 1 << 20;
  const lora::TensorInfo& info = file.info(name);
  const std::size_t width = lora::detail::find_dtype(info.dtype)->bits / 8;
  const std::span<const std::byte> bytes = file.bytes(name);
  std::vector<double> values(kElements);
  double square = 0;
  for (std::size_t at = 0; at < bytes.size(); at += kElements * width) {
    const auto part = bytes.subspan(at, std::min(kElements * width, bytes.size() - at));
    const std::span<double> some(values.data(), part.size() / width);
    lora::detail::convert_elements(info.dtype, part, some);
    double sum = 0;
    lora::cpu::run_simd<lora::cpu::DotCore>(static_cast<const double*>(some.data()),
                                            static_cast<const double*>(some.data()),
                                            static_cast<std::int64_t>(some.size()), &sum);
    square += sum;
    lora::detail::release_pages(file.contents(), part);
  }
  return std::sqrt(square);
}

std::uint64_t elements(const lora::TensorInfo& info) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : info.shape) count *= size;
  return count;
}

// Of the weight that an adapter is for.
std::vector<std::uint64_t> weight_shape(const lora::AdapterLayer<float>& layer,
                                        bool fan_in_fan_out) {
  std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(layer.lora_B.dim(0))};
  for (int i = 1; i < layer.lora_A.shape().rank(); ++i) {
    shape.push_back(static_cast<std::uint64_t>(layer.lora_A.dim(i)));
  }
  if (shape.size() == 2 && (layer.embedding || fan_in_fan_out)) std::swap(shape[0], shape[1]);
  return shape;
}

void add_base(AdapterReport& report, const lora::AdapterFile<float>& adapter,
              const lora::SafetensorsModel& base, const std::string& prefix) {
  for (const auto& file : base.files()) {
    for (const auto& entry : file->tensors()) {
      report.base_parameters += static_cast<index_t>(elements(entry.second));
    }
  }
  std::vector<LayerReport*> fitting;
  for (LayerReport& layer : report.layers) {
    const std::string name = prefix + layer.module + ".weight";
    const lora::SafetensorsFile* const file = base.find(name);
    const auto expected =
        weight_shape(adapter.layers.at(layer.module), adapter.config.fan_in_fan_out);
    if (!file) {
      report.notes.push_back("the base has no " + name);
    } else if (file->info(name).shape != expected && layer.update >= 0) {
      report.notes.push_back(name + " has shape " +
                             lora::detail::to_string(file->info(name).shape) +
                             " in the base, which the adapter does not fit");
    } else if (!lora::detail::is_floating_point(file->info(name).dtype)) {
      report.notes.push_back(name + " is " + file->info(name).dtype +
                             " in the base, into which nothing can be merged");
    } else {
      fitting.push_back(&layer);
    }
  }
  lora::detail::parallel_for(static_cast<std::int64_t>(fitting.size()), 1,
                             [&](std::int64_t begin, std::int64_t end) {
                               for (std::int64_t i = begin; i < end; ++i) {
                                 LayerReport& layer = *fitting[static_cast<std::size_t>(i)];
                                 const std::string name = prefix + layer.module + ".weight";
                                 layer.base = norm_of(*base.find(name), name);
                               }
                             });
}

void add_notes(AdapterReport& report, const lora::AdapterFile<float>& adapter) {
  for (const LayerReport& layer : report.layers) {
    const bool has_more = adapter.config.use_dora || adapter.config.lora_bias;
    if (layer.update == 0) {
      report.notes.push_back(layer.module + ": " + (layer.norm_b == 0 ? "B" : "A") +
                             " is all zero, so that " +
                             (has_more ? "B A does nothing" : "the adapter does nothing"));
    }
    if (layer.base > 0 && layer.update > layer.base) {
      report.notes.push_back(format("%s: the update is %.3g times as large as the weight itself",
                                    layer.module.c_str(), layer.update / layer.base));
    }
  }
}

void add_totals(AdapterReport& report, const lora::AdapterFile<float>& adapter,
                const std::string& folder) {
  const lora::SafetensorsFile file(lora::path_in(folder, "adapter_model.safetensors"));
  report.bytes = file.contents().size();
  for (const auto& entry : file.tensors()) {
    ++report.dtypes[entry.second.dtype];
    report.parameters += static_cast<index_t>(elements(entry.second));
  }
  const lora::PeftConfig& config = adapter.config;
  if (config.use_dora) report.kinds.push_back("DoRA");
  if (config.use_rslora) report.kinds.push_back("rsLoRA");
  if (config.lora_bias) report.kinds.push_back("lora_bias");
  if (config.fan_in_fan_out) report.kinds.push_back("fan_in_fan_out");
  if (config.bias == lora::LoRABias::all) report.kinds.push_back("all biases");
  if (config.bias == lora::LoRABias::lora_only) report.kinds.push_back("adapted layers' biases");
  for (const auto& entry : adapter.replaced) report.replaced.push_back(entry.first);
}

}  // namespace

AdapterReport inspect_adapter(const std::string& folder, const lora::SafetensorsModel* base,
                              const std::string& prefix) {
  const auto adapter = lora::read_adapter_file<float>(folder);
  AdapterReport report;
  for (const auto& [path, layer] : adapter.layers) report.layers.push_back({.module = path});
  lora::detail::parallel_for(static_cast<std::int64_t>(report.layers.size()), 1,
                             [&](std::int64_t begin, std::int64_t end) {
                               for (std::int64_t i = begin; i < end; ++i) {
                                 LayerReport& layer = report.layers[static_cast<std::size_t>(i)];
                                 layer =
                                     inspect_layer(layer.module, adapter.layers.at(layer.module));
                               }
                             });
  add_totals(report, adapter, folder);
  if (base) add_base(report, adapter, *base, prefix);
  add_notes(report, adapter);
  return report;
}

}  // namespace lora_adapter
