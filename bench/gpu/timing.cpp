// SPDX-License-Identifier: MIT
#include "gpu/timing.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "gpu/kernels.hpp"

namespace lora_bench {

namespace {

// A sample should last so long: events have a resolution of half a microsecond.
constexpr double kSampleSeconds = 500e-6;
constexpr int kMostLaunches = 50;
constexpr double kWarmUpSeconds = 20e-3;
constexpr std::size_t kFewestSamples = 51;
constexpr std::size_t kMostSamples = 201;
constexpr double kEnoughSeconds = 0.2;

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw lora::DeviceError(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

double l2_bytes() {
  int device = 0;
  int bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, device), "cudaDeviceGetAttribute");
  return bytes;
}

Sampler::Event Sampler::make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return Event(event);
}

// The delay lets the host enqueue everything before the GPU starts on it: without it, the time of a
// short sample would be the host's.
double Sampler::time(const std::function<void()>& enqueue) {
  check(launch_delay(current_stream()), "delay");
  check(cudaEventRecord(start_.get(), current_stream()), "cudaEventRecord");
  enqueue();
  check(cudaEventRecord(end_.get(), current_stream()), "cudaEventRecord");
  check(cudaEventSynchronize(end_.get()), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_.get(), end_.get()), "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

int Sampler::launches_a_sample(double seconds_a_launch) const {
  if (work_.before) return 1;
  const double wanted = std::ceil(kSampleSeconds / std::max(seconds_a_launch, 1e-9));
  const int launches = static_cast<int>(std::clamp(wanted, 1.0, double{kMostLaunches}));
  // Whole rounds, so that the next sample goes on where memory was used longest ago.
  return (launches + work_.rotation - 1) / work_.rotation * work_.rotation;
}

Sampler::Sampler(Work work) : work_(std::move(work)), start_(make_event()), end_(make_event()) {
  const lora::ScopedStream scope(stream_);
  const auto round = [&] {
    for (int i = 0; i < work_.rotation; ++i) work_.launch(i);
  };
  if (work_.before) work_.before();
  time(round);  // modules are loaded and workspaces grow
  if (work_.before) work_.before();
  launches_ = launches_a_sample(time(round) / work_.rotation);
  if (launches_ == 1) {
    enqueue_ = [this] { work_.launch(0); };
  } else {
    graph_ = std::make_unique<lora::Graph>(lora::capture([&] {
      for (int i = 0; i < launches_; ++i) work_.launch(i % work_.rotation);
    }));
    enqueue_ = [this] { graph_->launch(); };
  }
  double spent = 0;
  for (int i = 0; i < 3 || spent < kWarmUpSeconds; ++i) {
    if (work_.before) work_.before();
    // An event may round a launch of next to nothing down to nothing.
    spent += std::max(time(enqueue_), 1e-6);
  }
}

void Sampler::sample() {
  const lora::ScopedStream scope(stream_);
  if (work_.before) work_.before();
  const double seconds = time(enqueue_);
  total_ += seconds;
  samples_.push_back(seconds / launches_);
}

bool Sampler::done() const {
  return samples_.size() >= kMostSamples ||
         (samples_.size() >= kFewestSamples && total_ >= kEnoughSeconds);
}

Timing Sampler::timing() const {
  std::vector<double> sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  return {sorted[sorted.size() / 2], sorted.front(), static_cast<int>(sorted.size()), launches_};
}

std::vector<Timing> time_in_turn(std::vector<Work> works) {
  std::vector<std::unique_ptr<Sampler>> samplers;
  for (Work& work : works) samplers.push_back(std::make_unique<Sampler>(std::move(work)));
  const auto all_done = [&] {
    return std::all_of(samplers.begin(), samplers.end(), [](const auto& s) { return s->done(); });
  };
  while (!all_done()) {
    for (const auto& sampler : samplers) sampler->sample();
  }
  std::vector<Timing> timings;
  for (const auto& sampler : samplers) timings.push_back(sampler->timing());
  return timings;
}

}  // namespace lora_bench
