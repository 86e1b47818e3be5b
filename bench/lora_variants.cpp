// SPDX-License-Identifier: MIT
// What variants of LoRA cost on the study's network, batch 10, random data:
//     lora_variants [ROUNDS [STEPS [THREADS]]]
// Two forms of a step are timed in turn, one step of each at a time; prints a JSON line a round
// with the median of each, in milliseconds, and the ratio of the medians.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <lora/lora.hpp>

#include "study_net.hpp"

namespace {

using lora::index_t;
using lora::Tensor;

constexpr index_t kBatch = 10;

/// The study's network with random adapters, and what a step on it needs.
class Model {
 public:
  Model() : net_(lora_bench::study_net()) {}

  Model& add(const std::string& name, lora::LoRAConfig config) {
    // The last layer has ten outputs, and so no larger rank.
    if (config.r > 10) config.rank_pattern = {{"linear4", 10}};
    if (lora::adapter_names(net_).empty()) {
      lora::adapt(net_, config, name);
    } else {
      lora::add_adapter(net_, name, config);
    }
    lora::PhiloxGenerator generator(7);
    for (const auto& [path, layer] : lora::lora_layers(net_)) {
      generator.normal(layer->adapter(name).lora_B.value.span(), 0.0, 0.01);
    }
    adam_ = std::make_unique<lora::Adam<float>>(net_.parameters());
    return *this;
  }

  Model& rows_use(const std::vector<std::int32_t>& ids) {
    rows_ = std::make_unique<lora::ScopedAdapterIds<float>>(net_, ids);
    return *this;
  }

  void disable() { off_ = std::make_unique<lora::ScopedDisable<float>>(net_); }

  void train(const Tensor<float>& x, const Tensor<float>& dy) {
    net_.forward(x, saved_);
    adam_->backward_and_step(net_, dy, saved_);
  }
  void test(const Tensor<float>& x) { net_.forward(x, saved_); }

 private:
  lora::Sequential<float> net_;
  lora::Saved<float> saved_;
  std::unique_ptr<lora::Adam<float>> adam_;
  std::unique_ptr<lora::ScopedAdapterIds<float>> rows_;
  std::unique_ptr<lora::ScopedDisable<float>> off_;
};

double median(std::vector<double>& times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

void compare(const char* what, int steps, const std::function<void()>& base,
             const std::function<void()>& other) {
  std::vector<double> base_times, other_times;
  const auto time = [](const std::function<void()>& step, std::vector<double>& times) {
    const auto start = std::chrono::steady_clock::now();
    step();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    times.push_back(time.count());
  };
  for (int i = 0; i < 5; ++i) {
    base();
    other();
  }
  for (int i = 0; i < steps; ++i) {
    time(base, base_times);
    time(other, other_times);
  }
  const double base_ms = median(base_times);
  const double other_ms = median(other_times);
  std::printf(
      "{\"what\": \"%s\", \"threads\": %d, \"base_ms\": %.4f, \"ms\": %.4f, \"ratio\": %.3f}\n",
      what, lora::get_num_threads(), base_ms, other_ms, other_ms / base_ms);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 300;
  if (argc > 3) lora::set_num_threads(std::atoi(argv[3]));
  if (rounds < 1 || steps < 1) {
    std::fputs("usage: lora_variants [ROUNDS [STEPS [THREADS]]], all at least 1\n", stderr);
    return 1;
  }
  Tensor<float> x({kBatch, 784}), dy({kBatch, 10});
  lora::PhiloxGenerator generator(1);
  generator.normal(x.span(), 0.0, 1.0);
  generator.normal(dy.span(), 0.0, 1.0);

  Model lora_1, dora_1, lora_8, dora_8, mixed_8, plain, disabled;
  lora_1.add("default", {.r = 1});
  dora_1.add("default", {.r = 1, .use_dora = true});
  lora_8.add("default", {.r = 8});
  dora_8.add("default", {.r = 8, .use_dora = true});
  for (const char* name : {"a", "b", "c", "d"}) mixed_8.add(name, {.r = 8});
  mixed_8.rows_use({0, 1, 2, 3, 0, 1, 2, 3, 0, 1});
  disabled.add("default", {.r = 8}).disable();

  for (int round = 0; round < rounds; ++round) {
    const auto train = [&](Model& model) { return [&] { model.train(x, dy); }; };
    const auto test = [&](Model& model) { return [&] { model.test(x); }; };
    compare("DoRA step / LoRA step, r = 1", steps, train(lora_1), train(dora_1));
    compare("DoRA step / LoRA step, r = 8", steps, train(lora_8), train(dora_8));
    compare("DoRA forward / LoRA forward, r = 1", steps, test(lora_1), test(dora_1));
    compare("step on 4 adapters / 1 adapter, r = 8", steps, train(lora_8), train(mixed_8));
    compare("forward through 4 adapters / 1 adapter, r = 8", steps, test(lora_8), test(mixed_8));
    compare("forward with LoRA disabled / plain Linear", steps, test(plain), test(disabled));
    compare("forward with LoRA on / plain Linear, r = 1", steps, test(plain), test(lora_1));
  }
}
