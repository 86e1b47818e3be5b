// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <lora/data/data_loader.hpp>
#include <lora/data/mnist.hpp>
#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

#include "mnist_lora/result.hpp"

namespace mnist_lora {

/// The steps of the study, to be called in their order. All randomness comes from one generator in
/// PyTorch's order, so that `seed` gives the initial weights and batches of
/// torch.manual_seed(seed).
class Study {
 public:
  /// 784-1000-1500-1300-10 with ReLU between.
  Study(const Settings& settings, const lora::Mnist& data, bool quiet,
        lora::Device device = lora::Device::cpu);

  /// Another study of the same pretrained network, whose random numbers go on from where those of
  /// `pretrained` are. `settings` may differ in what concerns the adapters and their training.
  Study(const Study& pretrained, const Settings& settings);

  const StudyResult& result() const { return result_; }
  lora::Sequential<float>& net() { return net_; }

  /// Trains every weight, and keeps a copy of them.
  void pretrain();

  /// In place of pretrain(): takes the weights that save() wrote.
  void load_pretrained(const std::filesystem::path& folder);

  /// Puts an adapter on every layer and freezes the rest. Returns the frozen parameters' names.
  std::vector<std::string> adapt();

  /// Trains the adapters on the target digits, and on what `replay` adds.
  void finetune();

  /// In place of finetune(): takes the adapters that save() wrote. Throws lora::FileError when they
  /// were made with other settings.
  void load_adapter(const std::filesystem::path& folder);

  /// Writes model.safetensors, adapter_model.safetensors and adapter_settings.json. Adapters that
  /// count from initial values of their own become plain ones of twice the rank, with the same
  /// effect: a file has no place for such values.
  void save(const std::filesystem::path& folder);

  void evaluate_pretrained() { result_.pretrained = evaluate(); }
  void evaluate_lora_on() { result_.lora_on = evaluate(); }
  void evaluate_lora_off();

  /// Checks, bit for bit, that the frozen weights are the kept copy and that the disabled model is
  /// the pretrained one, and that what each layer multiplies by is W with its adapter, rounded
  /// once. Returns what was checked; throws lora::Error at the first difference.
  std::vector<std::string> check();

 private:
  void take(const Settings& settings);
  void compute_gradients();
  std::vector<double> train(const lora::LabeledImages& set, lora::DataLoader<float>& loader,
                            lora::index_t batches, lora::Adam<float>& adam,
                            const std::string& label, double& seconds);
  std::size_t batch_size() const { return static_cast<std::size_t>(result_.settings.batch); }
  const lora::Batch<float>& on_device(const lora::Batch<float>& batch);
  Evaluation evaluate();
  void keep_weights();
  lora::Tensor<float> probe_logits();

  const lora::Mnist& data_;
  lora::LabeledImages pretrain_set_;  // only when it is not all of the training images
  lora::LabeledImages finetune_set_;
  bool quiet_;
  lora::Device device_;
  lora::TorchGenerator generator_;
  lora::Sequential<float> net_;
  StudyResult result_;
  std::vector<lora::Tensor<float>> kept_weights_;
  lora::Tensor<float> kept_logits_;
  lora::Batch<float> device_batch_;
};

}  // namespace mnist_lora
