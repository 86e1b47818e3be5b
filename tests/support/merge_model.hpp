// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lora/io/adapter_file.hpp>
#include <lora/io/safetensors.hpp>

#include "support/matrices.hpp"
#include "support/tensors.hpp"

namespace lora_test {

/// The numbers as a file holds them, each rounded once.
inline std::vector<std::byte> stored(std::string_view dtype, const Tensor<double>& x) {
  std::vector<std::byte> bytes;
  const auto append = [&](auto value) {
    std::byte raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes.insert(bytes.end(), raw, raw + sizeof value);
  };
  for (const double value : x.span()) {
    const auto narrow = static_cast<float>(value);
    if (dtype == "F64") append(value);
    if (dtype == "F32") append(narrow);
    if (dtype == "F16") append(lora::float_to_f16(narrow));
    if (dtype == "BF16") append(lora::float_to_bf16(narrow));
  }
  return bytes;
}

/// A file of weights to be, with its tensors.
class WeightFile {
 public:
  void add(const std::string& name, const std::string& dtype, std::vector<std::uint64_t> shape,
           std::vector<std::byte> bytes) {
    memory_.push_back(std::move(bytes));
    entries_.push_back({name, dtype, std::move(shape), memory_.back()});
  }

  void add(const std::string& name, const std::string& dtype, const Tensor<double>& x) {
    std::vector<std::uint64_t> shape;
    for (int i = 0; i < x.shape().rank(); ++i) {
      shape.push_back(static_cast<std::uint64_t>(x.dim(i)));
    }
    add(name, dtype, std::move(shape), stored(dtype, x));
  }

  void write(const std::string& path) const {
    lora::write_safetensors(path, entries_, {{"format", "pt"}});
  }

  const std::vector<lora::TensorEntry>& entries() const { return entries_; }

 private:
  std::deque<std::vector<std::byte>> memory_;
  std::vector<lora::TensorEntry> entries_;
};

inline std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool same_files(const std::string& a, const std::string& b) {
  return file_bytes(a) == file_bytes(b);
}

/// Whole numbers, or normal random ones.
inline lora::AdapterLayer<float> random_layer(index_t out, index_t in, index_t r, double scale,
                                              std::uint64_t seed, bool whole_numbers = false) {
  lora::AdapterLayer<float> layer;
  const auto random = [&](Shape shape, std::uint64_t own_seed) {
    return whole_numbers ? random_integers<float>(shape, own_seed)
                         : random_tensor<float>(shape, own_seed);
  };
  layer.lora_A = random({r, in}, seed);
  layer.lora_B = random({out, r}, seed + 1);
  layer.scale = scale;
  return layer;
}

/// s B A of matrices or of kernels in rows.
inline Tensor<double> update_of(const lora::AdapterLayer<float>& layer) {
  Tensor<double> a = convert<double>(layer.lora_A), b = convert<double>(layer.lora_B);
  a.reshape({a.dim(0), a.numel() / a.dim(0)});
  b.reshape({b.dim(0), b.numel() / b.dim(0)});
  Tensor<double> update = product(b, a);
  for (double& x : update.span()) x *= layer.scale;
  return update;
}

inline Tensor<double> sum(Tensor<double> x, const Tensor<double>& y) {
  for (index_t i = 0; i < x.numel(); ++i) x[i] += y[i];
  return x;
}

/// Each row given the length m, where it has any.
inline Tensor<double> with_lengths(Tensor<double> x, const Tensor<float>& m) {
  for (index_t i = 0; i < x.dim(0); ++i) {
    double square = 0;
    for (index_t j = 0; j < x.dim(1); ++j) square += x(i, j) * x(i, j);
    const double gain = square > 0 ? double{m[i]} / std::sqrt(square) : 0;
    for (index_t j = 0; j < x.dim(1); ++j) x(i, j) *= gain;
  }
  return x;
}

}  // namespace lora_test
