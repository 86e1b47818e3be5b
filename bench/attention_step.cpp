// SPDX-License-Identifier: MIT
// Times the steps of attention_lora on random characters:
//   attention_step [ROUNDS [STEPS [THREADS [SHAPE]]]]
// SHAPE is BATCHxCONTEXTxDIMxHEADSxLAYERS, 16x64x64x4x2 unless told. Prints a JSON line a round:
// milliseconds a step, the median over the round's steps.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <lora/layers.hpp>
#include <lora/lora.hpp>

#include "attention_lora/model.hpp"
#include "attention_lora/texts.hpp"

namespace {

using lora::index_t;

constexpr int kBatches = 20;

struct Data {
  std::vector<lora::Tensor<float>> codes;
  std::vector<lora::Tensor<std::int32_t>> following;

  explicit Data(const attention_lora::Settings& shape) {
    const auto characters = static_cast<double>(attention_lora::kCharacters.size());
    lora::PhiloxGenerator generator(1);
    for (int i = 0; i < kBatches; ++i) {
      lora::Tensor<float> drawn({shape.batch, shape.context});
      lora::Tensor<std::int32_t> labels({shape.batch * shape.context});
      generator.uniform(drawn.span(), 0, characters);
      for (index_t k = 0; k < labels.numel(); ++k) labels[k] = static_cast<std::int32_t>(drawn[k]);
      generator.uniform(drawn.span(), 0, characters);
      for (float& code : drawn.span()) code = std::floor(code);
      codes.push_back(std::move(drawn));
      following.push_back(std::move(labels));
    }
  }
};

// The median time of `step(i)` in milliseconds, after a few that are not counted.
template <class Step>
double median_ms(int steps, const Step& step) {
  std::vector<double> times;
  for (int i = -5; i < steps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    step(static_cast<std::size_t>((i + kBatches) % kBatches));
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i >= 0) times.push_back(time.count());
  }
  std::nth_element(times.begin(), times.begin() + steps / 2, times.end());
  return times[static_cast<std::size_t>(steps / 2)];
}

double time_training(lora::Sequential<float>& net, const Data& data, int steps) {
  lora::AdamW<float> adam(net.parameters(), {.lr = 1e-3});
  lora::Saved<float> saved;
  lora::Tensor<float> dlogits;
  double loss = 0;
  const double ms = median_ms(steps, [&](std::size_t i) {
    const auto& logits = net.forward(data.codes[i], saved);
    loss += lora::softmax_cross_entropy(logits, data.following[i], dlogits);
    adam.backward_and_step(net, dlogits, saved);
  });
  if (!std::isfinite(loss)) std::abort();
  return ms;
}

double time_testing(const lora::Sequential<float>& net, const Data& data, int steps) {
  lora::Saved<float> saved;
  return median_ms(steps, [&](std::size_t i) { net.forward(data.codes[i], saved); });
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 100;
  if (argc > 3) lora::set_num_threads(std::atoi(argv[3]));
  attention_lora::Settings shape;
  const bool understood =
      argc <= 4 || std::sscanf(argv[4], "%dx%dx%dx%dx%d", &shape.batch, &shape.context, &shape.dim,
                               &shape.heads, &shape.layers) == 5;
  if (rounds < 1 || steps < 1 || !understood) {
    std::fputs(
        "usage: attention_step [ROUNDS [STEPS [THREADS [SHAPE]]]], all at least 1, SHAPE "
        "like 16x64x64x4x2\n",
        stderr);
    return 1;
  }
  const Data data(shape);
  for (int round = 0; round < rounds; ++round) {
    lora::PhiloxGenerator generator(0);
    lora::Sequential<float> net = attention_lora::make_transformer(shape, generator);
    const double pretrain = time_training(net, data, steps);
    lora::adapt(net, attention_lora::lora_config(shape));
    const double finetune = time_training(net, data, steps);
    const double test_on = time_testing(net, data, steps);
    const lora::ScopedDisable off(net);
    const double test_off = time_testing(net, data, steps);
    std::printf(
        "{\"threads\": %d, \"pretrain\": %.4f, \"finetune\": %.4f, \"test_on\": %.4f, "
        "\"test_off\": %.4f}\n",
        lora::get_num_threads(), pretrain, finetune, test_on, test_off);
    std::fflush(stdout);
  }
}
