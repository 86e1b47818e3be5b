// SPDX-License-Identifier: MIT
// Times the steps of the study on random data: mnist_step [ROUNDS [STEPS [THREADS]]]
// Prints a JSON line a round: milliseconds a step, the median over the round's steps.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <lora/lora.hpp>

#include "study_net.hpp"

namespace {

using lora::index_t;

constexpr index_t kBatch = 10;
constexpr int kBatches = 100;

struct Data {
  std::vector<lora::Tensor<float>> images;
  std::vector<lora::Tensor<std::int32_t>> labels;

  Data() {
    lora::PhiloxGenerator generator(1);
    for (int i = 0; i < kBatches; ++i) {
      images.emplace_back(lora::Shape{kBatch, 784});
      generator.normal(images.back().span(), 0, 1);
      lora::Tensor<float> drawn({kBatch});
      generator.uniform(drawn.span(), 0, 10);
      labels.emplace_back(lora::Shape{kBatch});
      for (index_t k = 0; k < kBatch; ++k) labels.back()[k] = static_cast<std::int32_t>(drawn[k]);
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
  lora::Adam<float> adam(net.parameters(), {.lr = 1e-3});
  lora::Saved<float> saved;
  lora::Tensor<float> dlogits;
  return median_ms(steps, [&](std::size_t i) {
    const auto& logits = net.forward(data.images[i], saved);
    lora::softmax_cross_entropy(logits, data.labels[i], dlogits);
    adam.backward_and_step(net, dlogits, saved);
  });
}

double time_testing(lora::Sequential<float>& net, const Data& data, int steps) {
  lora::Saved<float> saved;
  lora::Tensor<std::int32_t> predictions;
  index_t wrong = 0;
  const double ms = median_ms(steps, [&](std::size_t i) {
    lora::ops::argmax(net.forward(data.images[i], saved), predictions);
    for (index_t k = 0; k < kBatch; ++k) wrong += predictions[k] != data.labels[i][k];
  });
  if (wrong == 0) std::abort();  // random labels cannot all be right
  return ms;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 200;
  if (argc > 3) lora::set_num_threads(std::atoi(argv[3]));
  if (rounds < 1 || steps < 1) {
    std::fputs("usage: mnist_step [ROUNDS [STEPS [THREADS]]], all at least 1\n", stderr);
    return 1;
  }
  const Data data;
  for (int round = 0; round < rounds; ++round) {
    lora::Sequential<float> net = lora_bench::study_net();
    const double pretrain = time_training(net, data, steps);
    lora::adapt(net, lora_bench::kStudyAdapter);
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
