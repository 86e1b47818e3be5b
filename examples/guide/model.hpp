// SPDX-License-Identifier: MIT
#pragma once

#include <lora/lora.hpp>

// What every program of the guide starts from: a small model, an input, and a step of training.

namespace guide {

/// block0, block1, each with query, value and mlp; then head.
inline lora::Sequential<float> make_model() {
  lora::PhiloxGenerator generator(0);
  lora::Sequential<float> model;
  for (const char* name : {"block0", "block1"}) {
    lora::Sequential<float> block;
    block.add("query", lora::Linear<float>(64, 64, generator));
    block.add("value", lora::Linear<float>(64, 64, generator));
    block.add("mlp", lora::Linear<float>(64, 64, generator));
    model.add(name, std::move(block));
  }
  model.add("head", lora::Linear<float>(64, 10, generator));
  return model;
}

inline lora::Tensor<float> make_input(lora::index_t rows) {
  lora::Tensor<float> x({rows, 64});
  lora::PhiloxGenerator(1).normal(x.span(), 0.0, 1.0);
  return x;
}

/// Teaches what is trainable to give class row % 10.
inline void train(lora::Module<float>& model, lora::Adam<float>& adam, int steps = 20) {
  const lora::Tensor<float> x = make_input(10);
  lora::Tensor<std::int32_t> labels({10});
  for (lora::index_t i = 0; i < 10; ++i) labels[i] = static_cast<std::int32_t>(i);
  lora::Saved<float> saved;
  lora::Tensor<float> dlogits;
  for (int step = 0; step < steps; ++step) {
    lora::softmax_cross_entropy(model.forward(x, saved), labels, dlogits);
    adam.backward_and_step(model, dlogits, saved);
  }
}

inline void train(lora::Module<float>& model) {
  lora::Adam<float> adam(model.parameters());
  train(model, adam);
}

}  // namespace guide
