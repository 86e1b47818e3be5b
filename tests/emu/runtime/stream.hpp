// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
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

/// A copy from pinned memory that has been enqueued and not run. It lands as late as CUDA may let
/// it: when something waits for it, so whoever changes the source too early is found out.
struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes;
};

struct Stream {
  bool blocking = true;
  std::deque<PendingCopy> pending;
  /// Copies that were pending once.
  std::uint64_t landed = 0;
  Capture* capture = nullptr;
  /// Has recorded work since the stream that began the capture last waited for it.
  bool unjoined = false;
};

struct Event {
  bool timed = true;
  bool recorded = false;
  /// Set where the event was last recorded in a capture.
  Capture* capture = nullptr;
  Stream* stream = nullptr;
  /// How many of the stream's copies it stands behind.
  std::uint64_t copies = 0;
  std::chrono::steady_clock::time_point time;
};

/// Runs the work now, or records it where the stream is being captured.
cudaError_t submit(cudaStream_t stream, Work work);

/// Leaves the copy pending, unless the stream is being captured.
cudaError_t submit_late(cudaStream_t stream, const PendingCopy& copy);

/// Runs the copies that the stream, null: every one, still holds.
void land_copies(cudaStream_t stream);

/// Whether a pending copy reads this block of pinned memory.
bool is_awaited(const void* block);

bool is_capturing(cudaStream_t stream);

}  // namespace lora_emu
