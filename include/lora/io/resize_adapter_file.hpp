// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/io/adapter_file.hpp>
#include <lora/io/describe_layers.hpp>
#include <lora/linalg/balanced_factors.hpp>
#include <lora/linalg/svd.hpp>
#include <lora/tensor.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0 {

/// What cutting a layer's rank has left. The energy of a matrix is the sum of its squares.
struct ResizedLayer {
  std::string path;
  index_t from = 0, to = 0;  ///< its ranks
  double kept = 1;           ///< the share of the energy of B A
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// A or B as a matrix: a convolution's sizes behind the first as one.
template <class T>
Tensor<T> as_factor(Tensor<T> x) {
  x.reshape({x.dim(0), x.empty() ? 0 : x.numel() / x.dim(0)});
  return x;
}

/// B and A of a convolution with groups are no matrices whose product is what it adds.
template <class T>
void require_one_group(const char* op, const std::string& path, const AdapterLayer<T>& layer) {
  if (layer.lora_B.dim(1) == layer.rank()) return;
  throw ValueError(std::string(op) + ": " + path +
                   " is an adapter of a convolution with groups, which is no product B A");
}

/// Cuts the product B A of a layer to `rank`, which is below the layer's.
template <class T>
ResizedLayer truncate_layer(const std::string& path, AdapterLayer<T>& layer, index_t rank) {
  const linalg::SVD<T> svd = linalg::low_rank_svd(as_factor(layer.lora_B), as_factor(layer.lora_A));
  ResizedLayer facts{path, layer.rank(), std::min(rank, svd.s.numel())};
  double kept = 0, all = 0;
  for (index_t i = 0; i < svd.s.numel(); ++i) {
    const double square = static_cast<double>(svd.s[i]) * static_cast<double>(svd.s[i]);
    all += square;
    if (i < facts.to) kept += square;
  }
  facts.kept = all == 0 ? 1 : kept / all;
  auto [a, b] = linalg::balanced_factors(svd, facts.to);
  const Shape& old = layer.lora_A.shape();
  if (old.rank() == 4) {
    a.reshape({facts.to, old[1], old[2], old[3]});
    b.reshape({b.dim(0), facts.to, 1, 1});
  }
  layer.lora_A = std::move(a);
  layer.lora_B = std::move(b);
  return facts;
}

/// Cuts the layers of a larger rank; the configuration is left to the caller.
template <class T>
std::vector<ResizedLayer> truncate_layers(const char* op, AdapterFile<T>& adapter, index_t rank) {
  for (const auto& [path, layer] : adapter.layers) {
    if (layer.rank() > rank) require_one_group(op, path, layer);
  }
  std::vector<ResizedLayer> facts;
  for (auto& [path, layer] : adapter.layers) {
    facts.push_back(layer.rank() > rank ? truncate_layer(path, layer, rank)
                                        : ResizedLayer{path, layer.rank(), layer.rank()});
  }
  return facts;
}

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Gives an adapter a smaller rank: of its product B A in each layer the part of the `rank` largest
/// singular values, which no other product of that rank is nearer to. A layer whose rank is not
/// larger stays as it is, and every scale does; so do biases and replaced parameters.
///
/// DoRA's magnitudes stay, too: they are the lengths of the rows of the weight in use, whatever
/// gives the rows their directions. The rows keep their lengths exactly and turn by what is cut.
///
/// Throws ValueError, and changes nothing, on a rank below 1 or not below any layer's, and on a
/// convolution with groups.
template <class T>
std::vector<ResizedLayer> resize_adapter_file(AdapterFile<T>& adapter, index_t rank) {
  index_t largest = 0;
  for (const auto& [path, layer] : adapter.layers) largest = std::max(largest, layer.rank());
  if (rank < 1 || rank >= largest) {
    throw ValueError("resize_adapter_file: rank " + std::to_string(rank) +
                     ", expected at least 1 and less than the largest there is, " +
                     std::to_string(largest));
  }
  std::vector<ResizedLayer> facts = detail::truncate_layers("resize_adapter_file", adapter, rank);
  describe_layers(adapter);
  return facts;
}

}  // namespace lora::inline v0
