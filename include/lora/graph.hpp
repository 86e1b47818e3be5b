// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <lora/detail/backend.hpp>
#include <lora/detail/storage.hpp>
#include <lora/stream.hpp>

namespace lora::inline v0::detail {

/// What is enqueued in `stream` while it lives is recorded, not run.
class Recording {
 public:
  explicit Recording(const Stream& stream) : stream_(stream.handle()) {
    check_memory("capture", backend().begin_capture(stream_));
    open_ = true;
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  /// Drops what was recorded, unless it has been taken.
  ~Recording() {
    if (!open_) return;
    Backend::Graph graph = nullptr;
    if (cuda_backend->end_capture(stream_, &graph) == 0 && graph) {
      cuda_backend->destroy_graph(graph);
    }
  }

  Backend::Graph take() {
    open_ = false;
    Backend::Graph graph = nullptr;
    check_memory("capture", backend().end_capture(stream_, &graph));
    return graph;
  }

 private:
  Backend::Stream stream_;
  bool open_ = false;
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// Recorded ops that run again with one call, as torch.cuda.CUDAGraph: a training step of a dozen
/// small kernels then costs one launch. Move-only.
///
/// The recorded ops keep their addresses and scalars. The tensors they use must outlive the graph,
/// and what changes from step to step must lie in them: see ops::next_batch and detail::LossSlots.
class Graph {
 public:
  Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Graph() {
    if (handle_) detail::cuda_backend->destroy_graph(handle_);
  }

  /// Enqueues the recorded ops in this thread's current stream: PyTorch's replay().
  void launch() const {
    detail::check_memory("Graph::launch",
                         detail::backend().launch_graph(handle_, detail::current_stream));
  }

 private:
  template <class F>
  friend Graph capture(F&& record);

  explicit Graph(detail::Backend::Graph handle) : handle_(handle) {}

  detail::Backend::Graph handle_;
};

/// Calls `record` and records the ops that it enqueues, without running them: PyTorch's
/// `with torch.cuda.graph(g):`.
///
/// Run the ops once before, so that every tensor has its size: recording allocates nothing, and an
/// op that needs to, or that waits for the GPU as the loss on the host does, throws DeviceError.
/// When `record` throws, what was recorded is dropped and the exception goes on. Throws
/// DeviceError, with the reason, when there is no GPU to use.
template <class F>
Graph capture(F&& record) {
  // What runs before must not need memory that `record` releases.
  synchronize();
  const Stream stream;
  const ScopedStream scope(stream);
  detail::Recording recording(stream);
  std::forward<F>(record)();
  return Graph(recording.take());
}

}  // namespace lora::inline v0
