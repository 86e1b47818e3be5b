// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <lora/lora.hpp>

#include "attention_lora/model.hpp"
#include "attention_lora/result.hpp"
#include "attention_lora/texts.hpp"
#include "attention_lora/windows.hpp"

namespace attention_lora {

/// The steps of the study, to be called in their order.
class Study {
 public:
  /// Throws lora::ValueError where the model, or its adapters, cannot be as the settings say.
  Study(const Settings& settings, const Text& fables, const Text& logbook, bool quiet,
        lora::Device device = lora::Device::cpu);

  const StudyResult& result() const { return result_; }
  lora::Sequential<float>& net() { return net_; }

  /// Trains every weight on the fables, and keeps a copy of the model.
  void pretrain();

  /// Puts adapters on the model, freezes the rest, and trains them on the logbook.
  void adapt();

  /// Trains every weight of the copy on the logbook, with the learning rate of pretraining.
  void finetune_fully();

  /// In place of the three above: takes what save() wrote. Throws lora::FileError when it was made
  /// with other settings.
  void load(const std::filesystem::path& folder);

  /// Writes model.safetensors, adapter_model.safetensors, full_model.safetensors, the model after
  /// full fine-tuning, and settings.json.
  void save(const std::filesystem::path& folder);

  void evaluate_base();
  void evaluate_lora();
  void evaluate_full() { result_.full = evaluate(full_); }

  /// Checks, bit for bit, that the frozen weights are what they were after pretraining and that
  /// with LoRA disabled the logits are those of then. Returns what was checked; throws lora::Error
  /// at the first difference.
  std::vector<std::string> check();

 private:
  Phase train(lora::Sequential<float>& net, Windows& windows, const std::string& label, int steps,
              double lr);
  Outcome evaluate(lora::Sequential<float>& net);
  Losses losses(lora::Sequential<float>& net, lora::index_t batches);
  double loss(lora::Sequential<float>& net, Windows& held_out, lora::index_t batches);
  const Batch& on_device(const Batch& batch);
  lora::Tensor<float> probe_logits();
  void keep_copy();

  bool quiet_;
  lora::Device device_;
  lora::Sequential<float> net_, full_;
  Windows fables_, logbook_, held_out_fables_, held_out_logbook_;
  StudyResult result_;
  std::vector<lora::Tensor<float>> kept_weights_;
  lora::Tensor<float> kept_logits_;
  Batch device_batch_;
  lora::Saved<float> saved_;
  lora::Tensor<float> dlogits_;
};

}  // namespace attention_lora
