// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lora/cpu/gemm.hpp>
#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/io/safetensors_model.hpp>
#include <lora/io/tensor_merge.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

/// What becomes of one tensor of the base: it is replaced, or changed, or both, in this order.
template <class T>
struct TensorPlan {
  const Tensor<T>* replacement = nullptr;
  std::optional<LowRankUpdate<T>> update;
};

/// By the tensor's name. Points into the adapter.
template <class T>
using MergePlan = std::map<std::string, TensorPlan<T>>;

/// Finds the tensor of each part of an adapter in a model, and lists what does not fit.
template <class T>
class MergePlanner {
 public:
  MergePlanner(const std::string& base, const SafetensorsModel& model,
               const AdapterFile<T>& adapter, const std::string& prefix)
      : model_(model), adapter_(adapter), prefix_(prefix) {
    for (const auto& [name, value] : adapter.replaced) replace(name, value);
    for (const auto& [path, layer] : adapter.layers) {
      add_weight(path, layer);
      if (!layer.lora_B_bias.empty()) add_bias(path, layer);
    }
    if (!missing_.empty()) report_missing();
    if (!faults_.empty()) throw FileError(base + ": " + faults_.substr(2));
  }

  MergePlan<T> take() { return std::move(plan_); }

 private:
  using Sizes = std::vector<std::uint64_t>;

  void fault(const std::string& what) { faults_ += "; " + what; }

  const TensorInfo* find(const std::string& name) const {
    const SafetensorsFile* const file = model_.find(name);
    return file ? &file->info(name) : nullptr;
  }

  // The tensor of that name, null where it is not there or is no matrix of floating-point numbers.
  const TensorInfo* require(const std::string& name) {
    const TensorInfo* const info = find(prefix_ + name);
    if (!info) {
      missing_.push_back(prefix_ + name);
      return nullptr;
    }
    if (!is_floating_point(info->dtype)) {
      fault(prefix_ + name + " is " + info->dtype + ", expected F64, F32, F16 or BF16");
      return nullptr;
    }
    return info;
  }

  void replace(const std::string& name, const Tensor<T>& value) {
    const TensorInfo* const info = require(name);
    if (!info) return;
    if (require_shape(name, *info, sizes_of(value.shape()), "")) {
      plan_[prefix_ + name].replacement = &value;
    }
  }

  void add_weight(const std::string& path, const AdapterLayer<T>& layer) {
    const TensorInfo* const info = require(path + ".weight");
    if (!info) return;
    const Tensor<T>& a = layer.lora_A;
    const Tensor<T>& b = layer.lora_B;
    if (a.shape().rank() == 4 && b.dim(1) != a.dim(0)) {
      return fault(path + " is a convolution of several groups (lora_B has shape " +
                   b.shape().to_string() + "), which cannot be merged");
    }
    const bool is_transposed =
        layer.embedding || (adapter_.config.fan_in_fan_out && a.shape().rank() == 2);
    const index_t inputs = a.numel() / a.dim(0);
    Sizes expected = sizes_of(a.shape());
    expected[0] = static_cast<std::uint64_t>(b.dim(0));
    if (is_transposed) std::swap(expected[0], expected[1]);
    const char* const why = layer.embedding ? " of an embedding"
                            : is_transposed ? " with fan_in_fan_out"
                                            : "";
    if (!require_shape(path + ".weight", *info, expected, why)) return;
    const cpu::GemmOperand<T> as_is_a{a.data(), inputs, 1}, as_is_b{b.data(), a.dim(0), 1};
    const auto turned = [](const cpu::GemmOperand<T>& x) {
      return cpu::GemmOperand<T>{x.data, x.col_step, x.row_step};
    };
    LowRankUpdate<T> update{b.dim(0), inputs, a.dim(0), as_is_b, as_is_a, layer.scale};
    if (is_transposed) {
      update = {inputs, b.dim(0), a.dim(0), turned(as_is_a), turned(as_is_b), layer.scale};
    }
    if (!layer.magnitude.empty()) update.magnitude = layer.magnitude.data();
    update.outputs_are_columns = is_transposed;
    plan_[prefix_ + path + ".weight"].update = update;
  }

  // b + s b', a product of rank 1 with the number 1.
  void add_bias(const std::string& path, const AdapterLayer<T>& layer) {
    static constexpr T kOne = 1;
    const TensorInfo* const info = require(path + ".bias");
    const Tensor<T>& change = layer.lora_B_bias;
    if (!info || !require_shape(path + ".bias", *info, sizes_of(change.shape()), "")) return;
    const index_t size = change.numel();
    plan_[prefix_ + path + ".bias"].update =
        LowRankUpdate<T>{1, size, 1, {&kOne, 1, 1}, {change.data(), size, 1}, layer.scale};
  }

  bool require_shape(const std::string& name, const TensorInfo& info, const Sizes& expected,
                     const char* why) {
    if (info.shape == expected) return true;
    fault(prefix_ + name + " has shape " + to_string(info.shape) + ", the adapter's" + why +
          " needs " + to_string(expected));
    return false;
  }

  static Sizes sizes_of(const Shape& shape) {
    Sizes sizes;
    for (int i = 0; i < shape.rank(); ++i) sizes.push_back(static_cast<std::uint64_t>(shape[i]));
    return sizes;
  }

  void report_missing() {
    std::string names;
    for (const std::string& name : missing_) names += ", " + name;
    fault("there is no " + names.substr(2) + ", which the adapter changes" + prefix_hint());
  }

  // A prefix under which all that is missing is there.
  std::string prefix_hint() const {
    if (!prefix_.empty()) return "";
    for (const std::string& name : model_.names()) {
      if (!name.ends_with("." + missing_[0])) continue;
      const std::string prefix = name.substr(0, name.size() - missing_[0].size());
      bool helps = true;
      for (const std::string& other : missing_) helps = helps && find(prefix + other);
      if (helps) return "; with the prefix \"" + prefix + "\" all of it is there";
    }
    const std::string shared = shared_prefix();
    return shared.empty() ? "" : "; every name there begins with \"" + shared + "\"";
  }

  // Of all of the model's names, as far as a dot.
  std::string shared_prefix() const {
    const std::vector<std::string> names = model_.names();
    if (names.empty()) return "";
    // They are sorted: what the first and the last share, all share.
    std::size_t size = 0, dot = 0;
    while (size < names.front().size() && size < names.back().size() &&
           names.front()[size] == names.back()[size]) {
      if (names.front()[size++] == '.') dot = size;
    }
    return names.size() == 1 ? "" : names.front().substr(0, dot);
  }

  const SafetensorsModel& model_;
  const AdapterFile<T>& adapter_;
  const std::string& prefix_;
  MergePlan<T> plan_;
  std::vector<std::string> missing_;
  std::string faults_;
};

}  // namespace lora::inline v0::detail
