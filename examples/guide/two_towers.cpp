// SPDX-License-Identifier: MIT
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

#include <lora/io/checkpoint.hpp>
#include <lora/layers.hpp>
#include <lora/lora.hpp>

using lora::index_t;
using Tensor = lora::Tensor<float>;
using Saved = lora::Saved<float>;

constexpr index_t kBatch = 32, kFeatures = 16;
constexpr double kTemperature = 4.0;

/// scores_ij = query(q_i) · document(d_j) / temperature     x: (B, 2 F), q beside d, scores: (B, B)
class TwoTowers final : public lora::Module<float> {
 public:
  explicit TwoTowers(lora::Generator& generator) {
    const auto projection = std::make_shared<lora::Linear<float>>(64, 32, generator);
    for (const char* name : {"query", "document"}) {
      const auto tower = std::make_shared<lora::Sequential<float>>();
      tower->add("up", lora::Linear<float>(kFeatures, 64, generator));
      tower->add("gelu", lora::GELU<float>());
      tower->add("norm", lora::LayerNorm<float>(64));
      tower->add("projection", projection);  // one layer in two places
      children_.push_back({name, tower});
    }
  }

  std::string to_string() const override { return "TwoTowers"; }
  std::span<lora::Child<float>> children() override { return children_; }

 private:
  enum : std::size_t { kInput, kOutput = 2, kCount = 4 };  // in Saved::intermediates, two of each

  const Tensor& do_forward(const Tensor& x, Saved& saved) const override {
    saved.children.resize(2);
    saved.intermediates.resize(kCount);
    for (std::size_t i = 0; i < 2; ++i) {
      Tensor& part = saved.intermediates[kInput + i];
      lora::ops::take_columns(x, part, static_cast<index_t>(i) * kFeatures, kFeatures);
      saved.intermediates[kOutput + i] = children_[i].module->forward(part, saved.children[i]);
    }
    const Tensor &q = saved.intermediates[kOutput], &d = saved.intermediates[kOutput + 1];
    lora::ops::linear<float>(q, d, nullptr, saved.output);  // q dᵀ
    lora::ops::scale(saved.output, 1 / kTemperature);
    return saved.output;
  }

  void do_backward(const Tensor& dy, Saved& saved, Tensor* dx) override {
    const Tensor &q = saved.intermediates[kOutput], &d = saved.intermediates[kOutput + 1];
    Tensor doutput[2], dpart;
    lora::ops::linear_backward_input(dy, d, doutput[0]);   // dq = dy d
    lora::ops::linear_backward_weight(dy, q, doutput[1]);  // dd = dyᵀ q
    if (dx) dx->resize(saved.input->shape());
    for (std::size_t i = 0; i < 2; ++i) {
      lora::ops::scale(doutput[i], 1 / kTemperature);
      children_[i].module->backward(doutput[i], saved.children[i], dx ? &dpart : nullptr);
      if (dx) lora::ops::put_columns(dpart, *dx, static_cast<index_t>(i) * kFeatures);
    }
  }

  std::vector<lora::Child<float>> children_;
};

/// Queries beside their documents: the eight numbers from `first` are alike, the others unrelated.
Tensor make_pairs(lora::PhiloxGenerator& generator, index_t first) {
  Tensor x({kBatch, 2 * kFeatures});
  generator.normal(x.span(), 0.0, 1.0);
  for (index_t i = 0; i < kBatch; ++i) {
    for (index_t j = first; j < first + 8; ++j) {
      x(i, kFeatures + j) = x(i, j) + 0.3F * x(i, kFeatures + j);
    }
  }
  return x;
}

/// The document of query i is document i.
void train(TwoTowers& model, index_t first, std::int64_t steps, double lr) {
  lora::Tensor<std::int32_t> labels({kBatch});
  for (index_t i = 0; i < kBatch; ++i) labels[i] = static_cast<std::int32_t>(i);
  lora::PhiloxGenerator generator(1);
  lora::AdamW<float> adam(model.parameters());
  const lora::CosineSchedule schedule({.num_warmup_steps = 20, .num_training_steps = steps});
  Saved saved;
  Tensor dscores;
  for (std::int64_t step = 0; step < steps; ++step) {
    const Tensor x = make_pairs(generator, first);
    lora::softmax_cross_entropy(model.forward(x, saved), labels, dscores);
    model.backward(dscores, saved);
    lora::clip_grad_norm(model.parameters(), 1.0);
    adam.options.lr = lr * schedule(step);
    adam.step();
  }
}

/// The share of queries whose own document scores best among 32.
double accuracy(const TwoTowers& model, index_t first) {
  lora::PhiloxGenerator generator(2);
  lora::Tensor<std::int32_t> best;
  int right = 0;
  for (int batch = 0; batch < 20; ++batch) {
    const Tensor scores = model.forward(make_pairs(generator, first));
    lora::ops::argmax(scores, best);
    for (index_t i = 0; i < kBatch; ++i) right += best[i] == i;
  }
  return right / (20.0 * kBatch);
}

int main() {
  lora::PhiloxGenerator generator(0);
  TwoTowers model(generator);
  const auto print = [&](const char* when) {
    std::printf("%-10s %.2f on old pairs, %.2f on new ones\n", when, accuracy(model, 0),
                accuracy(model, 8));
  };
  train(model, 0, 500, 3e-3);
  print("pretrained");

  const lora::LoRAConfig config{.r = 8, .lora_alpha = 16, .target_modules = {"projection"}};
  for (const std::string& path : lora::adapt(model, config)) std::printf("%s\n", path.c_str());
  std::printf("%s\n", lora::to_string(lora::count_parameters(model)).c_str());
  train(model, 8, 500, 1e-2);
  print("adapted");
  lora::save_adapter(model, "towers_adapter.safetensors");
  std::remove("towers_adapter.safetensors");

  const lora::ScopedDisable off(model);
  print("disabled");
}
