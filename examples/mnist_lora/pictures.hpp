// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/data/labeled_images.hpp>
#include <lora/nn/lora_linear.hpp>

#include "mnist_lora/canvas.hpp"
#include "mnist_lora/result.hpp"
#include "mnist_lora/sweep.hpp"

namespace mnist_lora {

/// The first wrongly recognised images of each digit, a row a digit, each with what it was taken
/// for in its corner.
Picture misclassified_picture(const std::string& name, const std::string& caption,
                              const lora::LabeledImages& test, const Evaluation& evaluation);

/// What the adapter adds to W, as a heat map: red is positive, blue negative, and the depth of the
/// colour grows with the square root. A pixel shows the largest of the elements it stands for.
Picture update_picture(const std::string& layer_name, const lora::LoRALinear<float>& layer);

/// sweep_chart() as a picture.
Picture sweep_picture(const Sweep& sweep);

}  // namespace mnist_lora
