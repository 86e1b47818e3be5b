// SPDX-License-Identifier: MIT
#include <cstdio>
#include <memory>
#include <string>

#include <lora/lora.hpp>
#include <lora/nn/residual.hpp>
#include <lora/verify.hpp>

using lora::index_t;
using Tensor = lora::Tensor<float>;
using Saved = lora::Saved<float>;

/// y = x ∘ g                                        x, y: (…, D), g: (D,), which is learned
///
/// LayerScale: Touvron et al., "Going Deeper with Image Transformers", arXiv 2103.17239.
class LayerScale final : public lora::Module<float> {
 public:
  explicit LayerScale(index_t features) : gain(Tensor({features})) {
    lora::ops::fill(gain.value, 0.1);
  }

  std::string to_string() const override { return "LayerScale"; }
  void own_parameters(ParameterVisitor visit) override { visit("gain", gain); }

  lora::Parameter<float> gain;

 private:
  void times_gain(const Tensor& x, Tensor& y) const {
    y.resize(x.shape());
    for (index_t i = 0; i < x.numel(); ++i) y[i] = x[i] * gain.value[i % x.cols()];
  }

  const Tensor& do_forward(const Tensor& x, Saved& saved) const override {
    times_gain(x, saved.output);
    return saved.output;
  }

  void do_backward(const Tensor& dy, Saved& saved, Tensor* dx) override {
    const Tensor& x = *saved.input;
    if (gain.trainable) {
      gain.grad.accumulate_with([&](Tensor& sum, bool add) {
        if (!add) sum = Tensor(gain.value.shape());
        for (index_t i = 0; i < x.numel(); ++i) sum[i % x.cols()] += dy[i] * x[i];
      });
    }
    if (dx) times_gain(dy, *dx);
  }
};

int main() {
  lora::PhiloxGenerator generator(0);
  lora::Residual<float> block;
  block.add("up", lora::Linear<float>(16, 32, generator));
  block.add("relu", lora::ReLU<float>());
  block.add("down", lora::Linear<float>(32, 16, generator));
  block.add("scale", std::make_shared<LayerScale>(16));
  lora::Sequential<float> model;
  model.add("block", block);
  model.add("head", lora::Linear<float>(16, 4, generator));

  lora::adapt(model, {.r = 2, .target_modules = {"up", "down"}});
  for (const auto& [name, parameter] : model.named_parameters()) {
    if (name == "block.scale.gain") parameter->trainable = true;  // beside the adapters
  }

  Tensor x({3, 5, 16});
  generator.normal(x.span(), 0.0, 1.0);
  std::printf("%s\n", lora::to_string(lora::verify(model, x)).c_str());
}
