// SPDX-License-Identifier: MIT
// Times the steps of the study on a GPU, on random bytes: mnist_step_gpu [ROUNDS [STEPS]]
// Prints a JSON line a round, milliseconds a step. Training: the step captured in a graph, from the
// difference of a run of 2 STEPS and one of STEPS, so that capturing and the first step drop out.
// Testing: forward pass and argmax in a graph.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include <lora/cuda.hpp>
#include <lora/data/graph_trainer.hpp>
#include <lora/lora.hpp>

#include "study_net.hpp"

namespace {

using lora::Device;
using lora::index_t;
using lora::Tensor;

constexpr index_t kBatch = 10;
constexpr index_t kImages = 60000;

lora::LabeledImages random_images() {
  lora::LabeledImages set{Tensor<std::uint8_t>({kImages, 784}), Tensor<std::int32_t>({kImages})};
  std::uint64_t state = 1;
  const auto next = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 56;
  };
  for (std::uint8_t& byte : set.images.span()) byte = static_cast<std::uint8_t>(next());
  for (std::int32_t& label : set.labels.span()) label = static_cast<std::int32_t>(next() % 10);
  return set;
}

template <class Run>
double milliseconds(const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

double time_training(lora::Sequential<float>& net, const lora::LabeledImages& set, index_t steps) {
  lora::Adam<float> adam(net.parameters(), {.lr = 1e-3});
  lora::GraphTrainer trainer(net, adam, set, kBatch);
  const auto run = [&](index_t count) {
    std::vector<index_t> order(static_cast<std::size_t>(count * kBatch));
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = static_cast<index_t>(i) * 7919 % kImages;
    }
    return milliseconds([&] { trainer.run(order, [](double) {}); });
  };
  run(steps);
  const double one = run(steps);
  return (run(2 * steps) - one) / static_cast<double>(steps);
}

double time_testing(const lora::Sequential<float>& net, index_t steps) {
  Tensor<float> images({kBatch, 784});
  lora::PhiloxGenerator(1).normal(images.span(), 0, 1);
  images = images.to(Device::cuda);
  lora::Saved<float> saved;
  Tensor<std::int32_t> predictions;
  const auto step = [&] { lora::ops::argmax(net.forward(images, saved), predictions); };
  step();
  const lora::Graph graph = lora::capture(step);
  const auto run = [&] {
    for (index_t i = 0; i < steps; ++i) graph.launch();
    lora::synchronize();
  };
  run();
  return milliseconds(run) / static_cast<double>(steps);
}

int run(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 1000;
  if (rounds < 1 || steps < 1) {
    std::fputs("usage: mnist_step_gpu [ROUNDS [STEPS]], both at least 1\n", stderr);
    return 1;
  }
  if (const std::string reason = lora::why_unavailable(Device::cuda); !reason.empty()) {
    std::fprintf(stderr, "mnist_step_gpu: %s\n", reason.c_str());
    return 77;
  }
  const lora::LabeledImages set = random_images();
  for (int round = 0; round < rounds; ++round) {
    lora::Sequential<float> net = lora_bench::study_net();
    net.to(Device::cuda);
    const double pretrain = time_training(net, set, steps);
    lora::adapt(net, lora_bench::kStudyAdapter);
    const double finetune = time_training(net, set, steps);
    const double test_on = time_testing(net, steps);
    const lora::ScopedDisable off(net);
    const double test_off = time_testing(net, steps);
    std::printf(
        "{\"device\": \"%s\", \"pretrain\": %.5f, \"finetune\": %.5f, \"test_on\": %.5f, "
        "\"test_off\": %.5f}\n",
        lora::detail::backend().device_name(), pretrain, finetune, test_on, test_off);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mnist_step_gpu: %s\n", error.what());
    return 1;
  }
}
