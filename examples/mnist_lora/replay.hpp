// SPDX-License-Identifier: MIT
#pragma once

#include <lora/data/labeled_images.hpp>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// What fine-tuning draws its batches from: every image of the target digits, and n of the other
/// digits, in the order in which they are in `train`. With t images of target digits, n is
/// replay / (1 - replay) t, rounded, so `replay` is the share of other digits. They are the first n
/// of torch.randperm(others) after torch.manual_seed(seed), a generator of its own, so that
/// everything else that is random is the same for every share. Throws lora::ValueError when there
/// are fewer than n.
lora::LabeledImages finetuning_set(const lora::LabeledImages& train, const Settings& settings);

/// n. Throws lora::ValueError when there are fewer images of other digits.
lora::index_t replayed_images(const lora::LabeledImages& train, const Settings& settings);

}  // namespace mnist_lora
