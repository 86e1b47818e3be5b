// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include <lora/data/data_loader.hpp>
#include <lora/data/labeled_images.hpp>
#include <lora/detail/function_ref.hpp>
#include <lora/detail/pinned.hpp>
#include <lora/error.hpp>
#include <lora/graph.hpp>
#include <lora/nn/adapters.hpp>
#include <lora/nn/dropout.hpp>
#include <lora/nn/module.hpp>
#include <lora/ops/next_batch.hpp>
#include <lora/ops/softmax_cross_entropy.hpp>
#include <lora/optim/adam.hpp>
#include <lora/stream.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// Trains a classifier on a GPU with one launch a step. The data set lies on the GPU as bytes; a
/// step (gather the batch, forward, loss, backward, update) is captured once in a graph that finds
/// its batch and its step's scalars on the device, so an epoch is graph launches and nothing that
/// the host waits for. Losses arrive in host memory that the GPU writes to.
class GraphTrainer {
 public:
  /// Copies the data set to the GPU. `net` is on the GPU, its trainable parameters are among those
  /// of `adam`, and both outlive the trainer. Throws ValueError on a batch size below 1 and on an
  /// adapter with dropout.
  GraphTrainer(Module<float>& net, Adam<float>& adam, const LabeledImages& data, index_t batch_size,
               Normalization normalization = {})
      : net_(&net),
        adam_(&adam),
        normalization_(normalization),
        images_(data.images.to(Device::cuda)),
        labels_(data.labels.to(Device::cuda)),
        step_(Tensor<index_t>({1}).to(Device::cuda)) {
    if (batch_size < 1) {
      throw ValueError("GraphTrainer: batch size " + std::to_string(batch_size) +
                       ", expected at least 1");
    }
    for (const auto& [path, layer] : lora_layers(net)) {
      for (const std::string& name : layer->adapter_names()) {
        if (layer->parts_of_adapter(name).front()->dropout == 0) continue;
        throw ValueError("GraphTrainer: \"" + name + "\" of " + path +
                         " has lora_dropout, and a captured step would drop the same every time");
      }
    }
    for (const auto& [path, layer] : layers_of<Dropout<float>>(net)) {
      if (layer->p() == 0 || !layer->training()) continue;
      throw ValueError("GraphTrainer: " + path + " is " + layer->to_string() +
                       ", and a captured step would drop the same every time");
    }
    batch_.images.resize({batch_size, images_.dim(1)}, Device::cuda);
  }

  /// One step for each whole batch of `order`, the samples' indices; what is left behind the last
  /// whole batch is not used. Calls `on_loss` with the loss of each step, in order, once it is
  /// known; what that throws ends the training after the steps that were enqueued. Throws
  /// ValueError on an index outside the data set, and where trainable parameters had different
  /// numbers of updates before.
  void run(std::span<const index_t> order, detail::FunctionRef<void(double loss)> on_loss) {
    const index_t steps = static_cast<index_t>(order.size()) / batch_.images.dim(0);
    if (steps == 0) return;
    for (const index_t i : order) {
      if (i < 0 || i >= labels_.numel()) {
        throw ValueError("GraphTrainer: sample " + std::to_string(i) + " of " +
                         std::to_string(labels_.numel()) + " does not exist");
      }
    }
    order_ = Tensor<index_t>({static_cast<index_t>(order.size())}, order).to(Device::cuda);
    step_ = Tensor<index_t>({1}).to(Device::cuda);
    const ScalarsOnDevice scalars(*adam_, steps, step_);
    const detail::PinnedMemory<double> losses(static_cast<std::size_t>(steps));
    std::fill_n(losses.data(), steps, kNotYet);
    const detail::LossSlots slots{losses.data(), steps, step_.data()};
    std::optional<Graph> graph;
    const ScopedStream scope(stream_);
    const WaitAtEnd wait{stream_};  // and only then do the graph and the memory go

    index_t seen = 0;
    const auto report = [&](index_t enqueued) {
      for (; seen < enqueued; ++seen) {
        const volatile double& loss = losses.data()[seen];
        if (loss == kNotYet) return;
        on_loss(loss);
      }
    };
    // The first step gives every tensor its size; recording the second runs nothing.
    train_step(slots);
    if (steps > 1) graph = capture([&] { train_step(slots); });
    for (index_t i = 1; i < steps; ++i) {
      graph->launch();
      if (i > 1) adam_->add_steps(1);
      report(i);
    }
    stream_.synchronize();
    report(steps);
  }

 private:
  // No cross-entropy is negative.
  static constexpr double kNotYet = -1;

  /// While it lives, Adam's scalars of the next `steps` steps lie on the device and are read there.
  class ScalarsOnDevice {
   public:
    ScalarsOnDevice(Adam<float>& adam, index_t steps, const Tensor<index_t>& step) : adam_(adam) {
      constexpr index_t kDoubles = sizeof(detail::AdamScalars) / sizeof(double);
      static_assert(sizeof(detail::AdamScalars) % sizeof(double) == 0);
      Tensor<double> table({steps, kDoubles});
      const std::int64_t before = adam.common_step();
      for (index_t i = 0; i < steps; ++i) {
        const detail::AdamScalars scalars = detail::adam_scalars(adam.options, before + i + 1);
        std::memcpy(table.data() + i * kDoubles, &scalars, sizeof scalars);
      }
      table_ = table.to(Device::cuda);
      adam.read_scalars_at(reinterpret_cast<const detail::AdamScalars*>(table_.data()),
                           step.data());
    }
    ScalarsOnDevice(const ScalarsOnDevice&) = delete;
    ScalarsOnDevice& operator=(const ScalarsOnDevice&) = delete;
    ~ScalarsOnDevice() { adam_.read_scalars_at(nullptr, nullptr); }

   private:
    Adam<float>& adam_;
    Tensor<double> table_;
  };

  // Also where run() ends by an exception.
  struct WaitAtEnd {
    const Stream& stream;
    ~WaitAtEnd() { detail::cuda_backend->synchronize(stream.handle()); }
  };

  void train_step(const detail::LossSlots& losses) {
    ops::next_batch(images_, labels_, order_, step_, batch_.images, batch_.labels,
                    normalization_.mean, normalization_.std);
    const Tensor<float>& logits = net_->forward(batch_.images, saved_);
    detail::softmax_cross_entropy(logits, batch_.labels, dlogits_, losses);
    adam_->backward_and_step(*net_, dlogits_, saved_);
  }

  Module<float>* net_;
  Adam<float>* adam_;
  Normalization normalization_;
  Tensor<std::uint8_t> images_;
  Tensor<std::int32_t> labels_;
  Tensor<index_t> order_, step_;
  Batch<float> batch_;
  Tensor<float> dlogits_;
  Saved<float> saved_;
  Stream stream_;
};

}  // namespace lora::inline v0
