// SPDX-License-Identifier: MIT
// Trains a network on digits the library draws, adapts it with LoRA, and switches the adapter off.
#include <cstdio>

#include <lora/data/data_loader.hpp>
#include <lora/data/synthetic_digits.hpp>
#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

int main() {
  const lora::Mnist digits = lora::synthetic_digits();

  lora::TorchGenerator gen(0);  // the numbers of torch.manual_seed(0)
  lora::Sequential<float> net;
  net.add("linear1", lora::Linear<float>(784, 100, gen));  // weights like nn.Linear's
  net.add("relu1", lora::ReLU<float>());
  net.add("linear2", lora::Linear<float>(100, 10, gen));

  const auto train = [&](const lora::LabeledImages& set) {
    double loss = 0;
    lora::Adam<float> adam(net.parameters(), {.lr = 1e-3});
    lora::Saved<float> saved;
    lora::Tensor<float> dlogits;
    lora::DataLoader<float> loader(set, 10);
    for (const auto& [images, labels] : loader) {
      const auto& logits = net.forward(images, saved);
      loss = lora::softmax_cross_entropy(logits, labels, dlogits);
      net.backward(dlogits, saved);
      adam.step();
    }
    return loss;
  };
  std::printf("pretrained: loss %.4f\n", train(digits.train));

  lora::adapt(net, {.r = 4, .lora_alpha = 8});  // adapters on every Linear, the rest frozen
  std::printf("%s\n", lora::to_string(lora::count_parameters(net)).c_str());
  std::printf("adapted: loss %.4f\n", train(lora::filter_digits(digits.train, {{3, 6, 8, 9}})));
  const lora::ScopedDisable off(net);  // the base model again, bit for bit
}
