// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <lora/detail/fault_list.hpp>
#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/describe_layers.hpp>
#include <lora/io/file.hpp>
#include <lora/io/safetensors.hpp>
#include <lora/io/safetensors_model.hpp>
#include <lora/linalg/balanced_factors.hpp>
#include <lora/linalg/truncated_svd.hpp>
#include <lora/tensor.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

struct ExtractOptions {
  /// The largest rank of a layer's adapter.
  index_t rank = 16;

  /// Singular values of at most so many times a layer's largest are left out: what remains beyond
  /// the true rank of a difference is rounding.
  double tolerance = 1e-6;

  /// Modules that are embeddings, by the last part of their path: a file does not tell their
  /// weights from those of Linears.
  std::vector<std::string> embeddings = common_embeddings();

  /// Modules whose weight is stored as (in, out), by the last part of their path, as GPT-2's c_attn
  /// is: PEFT's fan_in_fan_out.
  std::vector<std::string> fan_in_fan_out = {};
};

/// What was found for one layer that differs. The energy of a matrix is the sum of its squares.
struct ExtractedLayer {
  std::string path;
  index_t rank = 0;
  double energy = 0;    ///< of the difference
  double captured = 0;  ///< the share of it that the adapter has
};

struct ExtractedAdapter {
  AdapterFile<float> adapter;  ///< its scale is 1; no layers where no weight differs
  std::vector<ExtractedLayer> layers;
  std::vector<std::string> not_captured;  ///< tensors that differ but are no matrix or convolution
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// One tensor of two models, of the same shape.
class TensorPair {
 public:
  TensorPair(const std::string& name, const SafetensorsFile& base, const SafetensorsFile& tuned)
      : name_(name),
        base_(base),
        tuned_(tuned),
        base_info_(base.info(name)),
        tuned_info_(tuned.info(name)) {}

  // The pages of a model that has been looked at must not fill the memory.
  ~TensorPair() {
    MappedBytes::release(base_.bytes(name_));
    MappedBytes::release(tuned_.bytes(name_));
  }
  TensorPair(const TensorPair&) = delete;
  TensorPair& operator=(const TensorPair&) = delete;

  const std::vector<std::uint64_t>& shape() const { return base_info_.shape; }

  bool is_floating_point() const {
    return detail::is_floating_point(base_info_.dtype) &&
           detail::is_floating_point(tuned_info_.dtype);
  }

  bool has_equal_bytes() const {
    const auto a = base_.bytes(name_), b = tuned_.bytes(name_);
    if (a.empty() && b.empty()) return true;
    return base_info_.dtype == tuned_info_.dtype && std::memcmp(a.data(), b.data(), a.size()) == 0;
  }

  /// Whether some element has another value. Only for floating-point tensors.
  bool has_other_values() const {
    bool differs = false;
    visit([&](index_t, double base, double tuned) { differs |= base != tuned; });
    return differs;
  }

  /// tuned - base as a matrix: (out, in) of a weight, (out, in·KH·KW) of a convolution. Throws
  /// FileError where an element is not finite.
  Tensor<float> difference() const {
    const auto rows = static_cast<index_t>(shape()[0]);
    index_t cols = 1;
    for (std::size_t i = 1; i < shape().size(); ++i) cols *= static_cast<index_t>(shape()[i]);
    Tensor<float> difference;
    difference.resize({rows, cols});
    visit([&](index_t i, double base, double tuned) {
      difference[i] = static_cast<float>(tuned - base);
      if (std::isfinite(difference[i])) return;
      const bool of_base = !std::isfinite(base);
      throw FileError((of_base ? base_ : tuned_).path() + ": tensor \"" + name_ + "\" holds " +
                      std::to_string(of_base ? base : tuned) + ", expected finite numbers");
    });
    return difference;
  }

 private:
  // Calls visit(index, base, tuned) for each element in turn.
  template <class Visit>
  void visit(const Visit& visit) const {
    constexpr std::size_t kChunk = 4096;
    std::array<double, kChunk> base, tuned;
    const std::size_t base_size = find_dtype(base_info_.dtype)->bits / 8;
    const std::size_t tuned_size = find_dtype(tuned_info_.dtype)->bits / 8;
    const auto base_bytes = base_.bytes(name_), tuned_bytes = tuned_.bytes(name_);
    const std::size_t count = base_bytes.size() / base_size;
    for (std::size_t first = 0; first < count; first += kChunk) {
      const std::size_t size = std::min(kChunk, count - first);
      convert_elements(base_info_.dtype, base_bytes.subspan(first * base_size, size * base_size),
                       std::span(base.data(), size));
      convert_elements(tuned_info_.dtype,
                       tuned_bytes.subspan(first * tuned_size, size * tuned_size),
                       std::span(tuned.data(), size));
      for (std::size_t i = 0; i < size; ++i) {
        visit(static_cast<index_t>(first + i), base[i], tuned[i]);
      }
    }
  }

  const std::string& name_;
  const SafetensorsFile& base_;
  const SafetensorsFile& tuned_;
  const TensorInfo& base_info_;
  const TensorInfo& tuned_info_;
};

/// Throws FileError unless the two models have the same tensors, of the same shapes.
inline void require_same_tensors(const SafetensorsModel& base, const SafetensorsModel& tuned) {
  FaultList faults;
  for (const std::string& name : base.names()) {
    const SafetensorsFile* const other = tuned.find(name);
    if (!other) {
      faults.add(name + " is in the first alone");
      continue;
    }
    const auto& shape = base.find(name)->info(name).shape;
    const auto& tuned_shape = other->info(name).shape;
    if (shape != tuned_shape) {
      faults.add(name + " is " + to_string(shape) + " and " + to_string(tuned_shape));
    }
  }
  for (const std::string& name : tuned.names()) {
    if (!base.find(name)) faults.add(name + " is in the second alone");
  }
  if (faults.empty()) return;
  throw FileError(base.files()[0]->path() + " and " + tuned.files()[0]->path() +
                  ": expected the same tensors in both models: " + faults.text());
}

/// The path of the module whose weight it is, if it may be that of a Linear, an Embedding or a
/// Conv2d; else empty.
inline std::string path_of_weight(const std::string& name,
                                  const std::vector<std::uint64_t>& shape) {
  constexpr std::string_view kEnding = ".weight";
  const bool fits = (shape.size() == 2 || shape.size() == 4) && name.ends_with(kEnding);
  return fits ? name.substr(0, name.size() - kEnding.size()) : std::string();
}

/// The adapter of one layer from its difference.
inline AdapterLayer<float> extract_layer(const Tensor<float>& difference,
                                         const std::vector<std::uint64_t>& shape,
                                         const ExtractOptions& options, ExtractedLayer& facts) {
  const index_t most = std::min({options.rank, difference.dim(0), difference.dim(1)});
  linalg::SVD<float> svd = linalg::truncated_svd(difference, most);
  AdapterLayer<float> layer;
  const auto is_among = [&](const std::vector<std::string>& names) {
    return shape.size() == 2 && is_named_by_last_part(names, facts.path);
  };
  layer.embedding = is_among(options.embeddings);
  // What PEFT adds to the stored weight is (B A)ᵀ for these.
  const bool is_transposed = layer.embedding || is_among(options.fan_in_fan_out);
  if (is_transposed) std::swap(svd.u, svd.v);
  double captured = 0;
  while (facts.rank < most && svd.s[facts.rank] > options.tolerance * svd.s[0]) {
    captured += double{svd.s[facts.rank]} * double{svd.s[facts.rank]};
    ++facts.rank;
  }
  facts.captured = std::min(1.0, captured / facts.energy);
  std::tie(layer.lora_A, layer.lora_B) = linalg::balanced_factors(svd, facts.rank);
  if (shape.size() == 4) {
    const auto size = [&](std::size_t i) { return static_cast<index_t>(shape[i]); };
    layer.lora_A.reshape({facts.rank, size(1), size(2), size(3)});
    layer.lora_B.reshape({size(0), facts.rank, 1, 1});
  }
  layer.scale = 1;
  return layer;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// The difference of two models as an adapter of the first: for every floating-point weight of two
/// or four sizes ("<path>.weight") that differs, the truncated singular value decomposition of
/// tuned - base, U S Vᵀ, as A = √S Vᵀ and B = U √S, which no adapter of that rank is nearer to. A
/// convolution's kernels are taken as rows, as LoRAConv2d takes them; it must have one group.
/// `on_layer` is called after each layer, which of a large model take seconds each.
///
/// Takes one tensor at a time: the memory is that of the largest difference, a few times over, and
/// of the adapter. Throws FileError on tensors that only one of the two has, or of other shapes,
/// all of which it lists, and on values that are not finite; ValueError on a rank below 1 and a
/// tolerance outside [0, 1).
inline ExtractedAdapter extract_adapter(
    const SafetensorsModel& base, const SafetensorsModel& tuned, const ExtractOptions& options = {},
    const std::function<void(const ExtractedLayer&)>& on_layer = {}) {
  if (options.rank < 1 || options.rank > PeftConfig::kMaxRank) {
    throw ValueError("extract_adapter: rank " + std::to_string(options.rank) +
                     ", expected 1 to 1048576");
  }
  if (!(options.tolerance >= 0 && options.tolerance < 1)) {
    throw ValueError("extract_adapter: tolerance " + std::to_string(options.tolerance) +
                     ", expected 0 to below 1");
  }
  detail::require_same_tensors(base, tuned);
  ExtractedAdapter result;
  std::vector<std::string> unchanged;
  for (const std::string& name : base.names()) {
    const detail::TensorPair pair(name, *base.find(name), *tuned.find(name));
    const std::string path = detail::path_of_weight(name, pair.shape());
    if (pair.has_equal_bytes()) {
      if (!path.empty()) unchanged.push_back(path);
      continue;
    }
    if (path.empty() || !pair.is_floating_point()) {
      const bool differs = !pair.is_floating_point() || pair.has_other_values();
      if (differs) result.not_captured.push_back(name);
      continue;
    }
    const Tensor<float> difference = pair.difference();
    ExtractedLayer facts{path};
    for (const float x : difference.span()) facts.energy += double{x} * double{x};
    if (facts.energy == 0) {
      unchanged.push_back(path);
      continue;
    }
    result.adapter.layers[path] = detail::extract_layer(difference, pair.shape(), options, facts);
    if (detail::is_named_by_last_part(options.fan_in_fan_out, path)) {
      result.adapter.config.fan_in_fan_out = true;
    }
    result.layers.push_back(facts);
    if (on_layer) on_layer(facts);
  }
  if (!result.adapter.layers.empty()) describe_layers(result.adapter, unchanged);
  return result;
}

}  // namespace lora::inline v0
