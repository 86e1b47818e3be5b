// SPDX-License-Identifier: MIT
#include "attention_lora/study.hpp"

#include <algorithm>
#include <chrono>

#include <lora/io/checkpoint.hpp>
#include <lora/io/peft.hpp>
#include <lora/layers.hpp>
#include <lora/torch_generator.hpp>

#include "attention_lora/json_output.hpp"
#include "attention_lora/sample.hpp"
#include "support/checks.hpp"
#include "support/progress.hpp"
#include "support/settings_file.hpp"

namespace attention_lora {

using namespace example_support;
using lora::index_t;
using lora::Tensor;

namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kFullFile = "full_model.safetensors";
constexpr const char* kSettingsFile = "settings.json";

constexpr double kMaxNorm = 1;
constexpr int kCurvePoints = 10;
constexpr index_t kCurveBatches = 8;  // enough for a curve

lora::Sequential<float> copy_of(const lora::Sequential<float>& net) {
  return std::move(dynamic_cast<lora::Sequential<float>&>(*net.clone()));
}

lora::Sequential<float> initial_net(const Settings& settings) {
  lora::TorchGenerator generator(settings.seed);
  return make_transformer(settings, generator);
}

}  // namespace

Study::Study(const Settings& s, const Text& fables, const Text& logbook, bool quiet,
             lora::Device device)
    : quiet_(quiet),
      device_(device),
      net_(initial_net(s)),
      fables_(fables.train, s.batch, s.context, s.seed),
      logbook_(logbook.train, s.batch, s.context, s.seed),
      held_out_fables_(fables.held_out, s.batch, s.context),
      held_out_logbook_(logbook.held_out, s.batch, s.context) {
  result_.settings = s;
  result_.settings.device = lora::to_string(device);
  result_.base_parameters = lora::count_parameters(net_).all;
  // Better now than after pretraining.
  lora::Sequential<float> rehearsal = copy_of(net_);
  result_.adapted = lora::adapt(rehearsal, lora_config(s));
  result_.lora_parameters = lora::count_parameters(rehearsal).trainable;
  net_.to(device);
}

void Study::pretrain() {
  const Settings& s = result_.settings;
  result_.pretraining = train(net_, fables_, "pretraining", s.steps, s.lr);
  keep_copy();
}

void Study::keep_copy() {
  full_ = copy_of(net_);
  for (const auto* parameter : net_.parameters()) {
    kept_weights_.push_back(parameter->value.to(lora::Device::cpu));
  }
  kept_logits_ = probe_logits();
}

void Study::adapt() {
  const Settings& s = result_.settings;
  lora::adapt(net_, lora_config(s));
  result_.adaptation = train(net_, logbook_, "LoRA", s.adapt_steps, s.adapt_lr);
}

void Study::finetune_fully() {
  const Settings& s = result_.settings;
  logbook_.restart();  // the batches that LoRA had
  result_.full_finetuning = train(full_, logbook_, "full fine-tuning", s.adapt_steps, s.lr);
}

Phase Study::train(lora::Sequential<float>& net, Windows& windows, const std::string& label,
                   int steps, double lr) {
  Phase phase;
  phase.trainable = lora::count_parameters(net).trainable;
  const auto parameters = net.parameters();
  lora::AdamW<float> adam(parameters, {.lr = lr});
  const lora::CosineSchedule schedule(
      {.num_warmup_steps = steps / 20, .num_training_steps = steps});
  ProgressBar progress(label, steps, quiet_);
  const auto mark = [&](int step) { phase.curve.push_back({step, losses(net, kCurveBatches)}); };
  for (int step = 0; step < steps; ++step) {
    if (step * kCurvePoints >= steps * static_cast<int>(phase.curve.size())) mark(step);
    const auto start = std::chrono::steady_clock::now();
    const Batch& batch = on_device(windows.draw());
    const Tensor<float>& logits = net.forward(batch.codes, saved_);
    const double loss = lora::softmax_cross_entropy(logits, batch.next, dlogits_);
    require_finite(loss, label, step);
    net.backward(dlogits_, saved_);
    lora::clip_grad_norm(parameters, kMaxNorm);
    adam.options.lr = lr * schedule(step);
    adam.step();
    phase.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    phase.loss.push_back(loss);
    progress.step(loss);
  }
  mark(steps);
  progress.finish();
  return phase;
}

const Batch& Study::on_device(const Batch& batch) {
  if (device_ == lora::Device::cpu) return batch;
  device_batch_ = {batch.codes.to(device_), batch.next.to(device_)};
  return device_batch_;
}

double Study::loss(lora::Sequential<float>& net, Windows& held_out, index_t batches) {
  double sum = 0;
  for (index_t i = 0; i < batches; ++i) {
    const Batch& batch = on_device(held_out.consecutive(i));
    sum += lora::softmax_cross_entropy(net.forward(batch.codes, saved_), batch.next, dlogits_);
  }
  return sum / static_cast<double>(batches);
}

Losses Study::losses(lora::Sequential<float>& net, index_t batches) {
  return {loss(net, held_out_fables_, std::min(batches, held_out_fables_.count())),
          loss(net, held_out_logbook_, std::min(batches, held_out_logbook_.count()))};
}

Outcome Study::evaluate(lora::Sequential<float>& net) {
  const Settings& s = result_.settings;
  return {losses(net, std::max(held_out_fables_.count(), held_out_logbook_.count())),
          write_sample(net, device_, s.context, s.sample, s.temperature, s.seed)};
}

void Study::evaluate_base() {
  const lora::ScopedDisable off(net_);  // where the adapters have been loaded as well
  result_.base = evaluate(net_);
}

void Study::evaluate_lora() {
  result_.lora_on = evaluate(net_);
  const lora::ScopedDisable off(net_);
  result_.lora_off = evaluate(net_);
}

Tensor<float> Study::probe_logits() {
  return net_.forward(on_device(held_out_fables_.consecutive(0)).codes).to(lora::Device::cpu);
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
  require(i == kept_weights_.size(), "a parameter of the base model is not frozen");
  const lora::ScopedDisable off(net_);
  require(same_bits(probe_logits(), kept_logits_), "the disabled model's logits have changed");
  return {"the frozen parameters are those of the pretrained model, bit for bit",
          "with LoRA disabled the logits are the pretrained model's, bit for bit"};
}

void Study::save(const std::filesystem::path& folder) {
  lora::save_model(net_, folder / kModelFile);
  lora::save_peft_adapter(net_, folder.string());
  lora::save_model(full_, folder / kFullFile);
  save_settings(folder / kSettingsFile, saved_settings(result_.settings));
}

void Study::load(const std::filesystem::path& folder) {
  require_settings(folder / kSettingsFile, saved_settings(result_.settings));
  lora::load_model(net_, folder / kModelFile);
  keep_copy();
  lora::adapt(net_, lora_config(result_.settings));
  lora::load_adapter(net_, folder / kAdapterFile);
  lora::load_model(full_, folder / kFullFile);
}

}  // namespace attention_lora
