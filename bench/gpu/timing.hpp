// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include <cuda_runtime.h>

#include <lora/lora.hpp>

namespace lora_bench {

/// Throws lora::DeviceError with what CUDA says.
void check(cudaError_t error, const char* what);

/// The stream that the library's ops of this thread go to.
inline cudaStream_t current_stream() {
  return static_cast<cudaStream_t>(lora::detail::current_stream);
}

/// Something to be timed. It enqueues its work in the current stream.
struct Work {
  /// Enqueues the `i`-th launch. Launches i and i + rotation use the same memory.
  std::function<void(int i)> launch;
  int rotation = 1;
  /// Enqueued ahead of each sample and not timed; may be empty.
  std::function<void()> before = {};
};

struct Timing {
  double median;   // seconds a launch
  double fastest;  // the shortest sample
  int samples;
  int launches;  // of a sample: more than one are one captured graph
};

/// Takes samples of one piece of work. What is too short to be timed alone, or must go through its
/// memory in turn, is captured: a sample is then one launch of a graph of many nodes.
class Sampler {
 public:
  /// Runs the work until the GPU is warm.
  explicit Sampler(Work work);

  void sample();
  /// Whether there are enough samples for a median.
  bool done() const;
  Timing timing() const;

 private:
  struct DestroyEvent {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

  static Event make_event();
  double time(const std::function<void()>& enqueue);
  int launches_a_sample(double seconds_a_launch) const;

  Work work_;
  lora::Stream stream_;
  Event start_, end_;
  int launches_ = 1;
  std::unique_ptr<lora::Graph> graph_;
  std::function<void()> enqueue_;
  std::vector<double> samples_;
  double total_ = 0;
};

/// Times the works in turn, so that a change of the clock meets all of them.
std::vector<Timing> time_in_turn(std::vector<Work> works);

inline Timing time(Work work) { return time_in_turn({std::move(work)})[0]; }

/// Bytes of the GPU's L2 cache.
double l2_bytes();

}  // namespace lora_bench
