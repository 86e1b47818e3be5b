// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <lora/data/labeled_images.hpp>
#include <lora/nn/lora_linear.hpp>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// An RGB picture with what to call it.
struct Picture {
  std::string name;     ///< of the file, without its ending
  std::string caption;  ///< one sentence
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
};

/// The first wrongly recognised images of each digit, a row a digit, each with what it was taken
/// for in its corner.
Picture misclassified_picture(const std::string& name, const std::string& caption,
                              const lora::LabeledImages& test, const Evaluation& evaluation);

/// What the adapter adds to W, scale B A, as a heat map: red is positive, blue negative, and the
/// depth of the colour grows with the square root. A pixel shows the largest of the elements it
/// stands for.
Picture update_picture(const std::string& layer_name, const lora::LoRALinear<float>& layer);

/// The picture as the bytes of a PNG file.
std::vector<std::uint8_t> encode_png(const Picture& picture);

}  // namespace mnist_lora
