// SPDX-License-Identifier: MIT
#include "mnist_lora/study.hpp"

#include <algorithm>
#include <cmath>

#include <lora/data/graph_trainer.hpp>
#include <lora/io/checkpoint.hpp>
#include <lora/io/peft.hpp>
#include <lora/nn/combine.hpp>
#include <lora/optim/loraplus.hpp>

#include "mnist_lora/json_output.hpp"
#include "mnist_lora/replay.hpp"
#include "mnist_lora/variant.hpp"
#include "support/checks.hpp"
#include "support/progress.hpp"
#include "support/settings_file.hpp"

namespace mnist_lora {

using example_support::ProgressBar;
using example_support::require_finite;
using example_support::require_settings;
using example_support::same_bits;
using example_support::save_settings;
using lora::DataLoader;
using lora::index_t;
using lora::Tensor;

namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kAdapterSettingsFile = "adapter_settings.json";

// Enough to tell the directions in which the loss falls from the noise of a batch.
constexpr index_t kGradientBatches = 32;

std::vector<index_t> first_batch(const DataLoader<float>& loader, int batch) {
  const auto count = std::min(loader.order().size(), static_cast<std::size_t>(batch));
  return {loader.order().begin(), loader.order().begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

Study::Study(const Settings& settings, const lora::Mnist& data, bool quiet, lora::Device device)
    : data_(data), quiet_(quiet), device_(device), generator_(settings.seed) {
  result_.data_name = data.name;
  const index_t sizes[] = {784, 1000, 1500, 1300, 10};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::string number = std::to_string(i + 1);
    net_.add("linear" + number, lora::Linear<float>(sizes[i], sizes[i + 1], generator_));
    if (i < 3) net_.add("relu" + number, lora::ReLU<float>());
    result_.layers.push_back({"linear" + number, sizes[i], sizes[i + 1], 0});
  }
  net_.to(device);
  take(settings);
  result_.base_parameters = lora::count_parameters(net_).all;
  if (settings.limit_train > 0) pretrain_set_ = lora::take_first(data.train, settings.limit_train);
}

Study::Study(const Study& pretrained, const Settings& settings) : Study(pretrained) {
  net_ = std::move(dynamic_cast<lora::Sequential<float>&>(*pretrained.net_.clone()));
  take(settings);
}

void Study::take(const Settings& settings) {
  result_.settings = settings;
  result_.settings.device = lora::to_string(device_);
  const lora::LoRAConfig config = lora_config(settings);
  for (LayerShape& layer : result_.layers) layer.rank = config.at(layer.name).r;
}

std::vector<double> Study::train(const lora::LabeledImages& set, DataLoader<float>& loader,
                                 index_t batches, lora::Adam<float>& adam, const std::string& label,
                                 double& seconds) {
  net_.train();
  std::vector<double> losses;
  ProgressBar progress(label, batches, quiet_);
  const auto report = [&](double loss) {
    require_finite(loss, label, static_cast<index_t>(losses.size()));
    losses.push_back(loss);
    progress.step(loss);
  };
  // A graph would drop the same inputs at every step.
  const bool drops = !lora::lora_layers(net_).empty() && result_.settings.lora_dropout > 0;
  if (device_ != lora::Device::cpu && !drops) {
    const auto whole_batches =
        static_cast<std::size_t>(std::min<index_t>(batches, set.size() / result_.settings.batch));
    lora::GraphTrainer trainer(net_, adam, set, result_.settings.batch);
    trainer.run(std::span(loader.order()).first(whole_batches * batch_size()), report);
  }
  // What the graph has left: on a GPU the last one, where it is smaller than the others.
  lora::Saved<float> saved;
  Tensor<float> dlogits;
  for (auto i = static_cast<index_t>(losses.size()); i < batches; ++i) {
    const auto& [images, labels] = on_device(loader.batch(i));
    const Tensor<float>& logits = net_.forward(images, saved);
    const double loss = lora::softmax_cross_entropy(logits, labels, dlogits);
    require_finite(loss, label, i);
    adam.backward_and_step(net_, dlogits, saved);
    report(loss);
  }
  progress.finish();
  seconds += progress.seconds();
  return losses;
}

const lora::Batch<float>& Study::on_device(const lora::Batch<float>& batch) {
  if (device_ == lora::Device::cpu) return batch;
  device_batch_ = {batch.images.to(device_), batch.labels.to(device_)};
  return device_batch_;
}

void Study::pretrain() {
  const Settings& s = result_.settings;
  const lora::LabeledImages& set = s.limit_train > 0 ? pretrain_set_ : data_.train;
  DataLoader<float> loader(set, s.batch);
  lora::Adam<float> adam(net_.parameters(), {.lr = s.lr});
  for (int epoch = 0; epoch < s.epochs; ++epoch) {
    loader.shuffle(generator_);
    if (epoch == 0) result_.pretrain_first_batch = first_batch(loader, s.batch);
    const auto losses =
        train(set, loader, loader.size(), adam, "pretraining", result_.pretrain_seconds);
    result_.pretrain_loss.insert(result_.pretrain_loss.end(), losses.begin(), losses.end());
  }
  keep_weights();
}

void Study::load_pretrained(const std::filesystem::path& folder) {
  lora::load_model(net_, folder / kModelFile);
  // What comes after draws the same random numbers as after pretraining.
  const Settings& s = result_.settings;
  const index_t images = s.limit_train > 0 ? pretrain_set_.size() : data_.train.size();
  for (int epoch = 0; epoch < s.epochs; ++epoch) generator_.data_loader_order(images);
  keep_weights();
}

void Study::keep_weights() {
  for (const auto* parameter : net_.parameters()) {
    kept_weights_.push_back(parameter->value.to(lora::Device::cpu));
  }
  kept_logits_ = probe_logits();
}

std::vector<std::string> Study::adapt() {
  const Settings& s = result_.settings;
  finetune_set_ = finetuning_set(data_.train, s);
  if (s.init == "lora_ga") compute_gradients();
  lora::adapt(net_, lora_config(s), generator_);
  for (auto* parameter : net_.parameters()) parameter->grad = {};
  result_.lora_parameters = lora::count_parameters(net_).trainable;
  return lora::mark_only_lora_as_trainable(net_);
}

// Of the mean loss over the first batches that fine-tuning could draw, in every weight.
void Study::compute_gradients() {
  DataLoader<float> loader(finetune_set_, result_.settings.batch);
  const index_t batches = std::min(kGradientBatches, loader.size());
  lora::Saved<float> saved;
  Tensor<float> dlogits;
  for (index_t i = 0; i < batches; ++i) {
    const auto& [images, labels] = on_device(loader.batch(i));
    lora::softmax_cross_entropy(net_.forward(images, saved), labels, dlogits);
    lora::ops::scale(dlogits, 1.0 / static_cast<double>(batches));
    net_.backward(dlogits, saved);
  }
}

void Study::finetune() {
  const Settings& s = result_.settings;
  DataLoader<float> loader(finetune_set_, s.batch);
  loader.shuffle(generator_);
  result_.finetune_first_batch = first_batch(loader, s.batch);
  lora::Adam<float> adam(lora::loraplus_groups(net_, s.loraplus_lr_ratio),
                         {.lr = s.finetune_lr > 0 ? s.finetune_lr : s.lr});
  const index_t batches = std::min<index_t>(s.finetune_batches, loader.size());
  result_.finetune_loss =
      train(finetune_set_, loader, batches, adam, "fine-tuning", result_.finetune_seconds);
}

void Study::load_adapter(const std::filesystem::path& folder) {
  require_settings(folder / kAdapterSettingsFile, adapter_settings(result_.settings));
  lora::convert_to_lora(net_);
  lora::load_adapter(net_, folder / kAdapterFile);
}

void Study::save(const std::filesystem::path& folder) {
  lora::save_model(net_, folder / kModelFile);
  lora::convert_to_lora(net_);
  lora::save_peft_adapter(net_, folder.string());
  save_settings(folder / kAdapterSettingsFile, adapter_settings(result_.settings));
}

Evaluation Study::evaluate() {
  net_.eval();
  // PyTorch's test loader shuffles too; the order does not matter, the generator's state does.
  generator_.data_loader_order(data_.test.size());
  DataLoader<float> loader(data_.test, result_.settings.batch);
  lora::Saved<float> saved;
  Tensor<std::int32_t> predictions_on_device;
  Evaluation evaluation;
  for (const auto& batch : loader) {
    lora::ops::argmax(net_.forward(on_device(batch).images, saved), predictions_on_device);
    const Tensor<std::int32_t>& labels = batch.labels;
    const Tensor<std::int32_t> predictions = predictions_on_device.to(lora::Device::cpu);
    for (index_t i = 0; i < labels.numel(); ++i) {
      const auto digit = static_cast<std::size_t>(labels[i]);
      ++evaluation.total[digit];
      evaluation.wrong[digit] += predictions[i] != labels[i];
      evaluation.predictions.push_back(predictions[i]);
    }
  }
  return evaluation;
}

void Study::evaluate_lora_off() {
  const lora::ScopedDisable off(net_);
  result_.lora_off = evaluate();
}

Tensor<float> Study::probe_logits() {
  net_.eval();
  DataLoader<float> loader(data_.test, 100);
  return net_.forward(on_device(loader.batch(0)).images).to(lora::Device::cpu);
}

std::vector<std::string> Study::check() {
  const auto require = [](bool condition, const std::string& what) {
    if (!condition) throw lora::Error("the study's check failed: " + what);
  };
  std::size_t i = 0;
  for (const auto& named : net_.named_parameters()) {
    if (named.parameter->trainable) continue;
    require(same_bits(named.parameter->value, kept_weights_[i++]), named.name + " has changed");
  }
  const Settings& settings = result_.settings;
  const auto layers = lora::layers_of<lora::LoRALinear<float>>(net_);
  for (std::size_t k = 0; k < layers.size(); ++k) {
    const auto rank = static_cast<double>(result_.layers[k].rank);
    const double scale = settings.alpha / (settings.use_rslora ? std::sqrt(rank) : rank);
    require(is_adapted_weight(*layers[k].second, scale),
            layers[k].first + " is not " + adapted_weight_text(settings));
  }
  {
    const lora::ScopedDisable off(net_);
    for (const auto& [path, layer] : layers) {
      require(same_bits(layer->effective_weight(), layer->base().weight.value),
              path + " is not W while disabled");
    }
    require(same_bits(probe_logits(), kept_logits_), "the disabled model's logits have changed");
  }
  return {
      "the frozen weights and biases are the kept copy, bit for bit",
      "the effective weight of every layer is " + adapted_weight_text(settings) + ", rounded once",
      "with LoRA disabled the weights and the logits are the pretrained model's, bit for bit"};
}

}  // namespace mnist_lora
