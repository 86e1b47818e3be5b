// SPDX-License-Identifier: MIT
#pragma once

// Layers for models that are no multilayer perceptron, and what trains them: beside <lora/lora.hpp>,
// so that a program without them does not compile them. Each header can be included alone.

#include <lora/nn/causal_self_attention.hpp>
#include <lora/nn/conv2d.hpp>
#include <lora/nn/dropout.hpp>
#include <lora/nn/embedding.hpp>
#include <lora/nn/gelu.hpp>
#include <lora/nn/layer_norm.hpp>
#include <lora/nn/parallel.hpp>
#include <lora/nn/position_embedding.hpp>
#include <lora/nn/recompute.hpp>
#include <lora/nn/reshape.hpp>
#include <lora/nn/residual.hpp>
#include <lora/nn/rms_norm.hpp>
#include <lora/nn/silu.hpp>
#include <lora/optim/adamw.hpp>
#include <lora/optim/clip_grad_norm.hpp>
#include <lora/optim/lr_schedule.hpp>
