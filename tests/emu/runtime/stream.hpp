// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include <lora_emu/runtime_api.hpp>

namespace lora_emu {

using Work = std::function<cudaError_t()>;

struct Graph {
  /// In the order of recording, which respects every dependency.
  std::vector<Work> nodes;
};

struct GraphExec {
  std::vector<Work> nodes;
};

/// Streams whose work is recorded instead of run.
struct Capture {
  Stream* origin;
  cudaStreamCaptureMode mode;
  bool spoilt = false;
  Graph graph;
  std::vector<Stream*> streams;
};

struct Stream {
  bool blocking = true;
  Capture* capture = nullptr;
  /// Has recorded work since the stream that began the capture last waited for it.
  bool unjoined = false;
};

struct Event {
  bool recorded = false;
  /// Set where the event was last recorded in a capture.
  Capture* capture = nullptr;
  Stream* stream = nullptr;
  std::chrono::steady_clock::time_point time;
};

/// Runs the work now, or records it where the stream is being captured.
cudaError_t submit(cudaStream_t stream, Work work);

bool is_capturing(cudaStream_t stream);

}  // namespace lora_emu
