// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <lora/detail/backend.hpp>
#include <lora/detail/storage.hpp>
#include <lora/device.hpp>

namespace lora::inline v0 {

class Event;

/// A queue of work on the GPU, as torch.cuda.Stream: ops in one stream run one after the other, ops
/// in two may overlap. Move-only; its work is finished, not dropped, when it is destroyed.
///
/// A stream and the default stream, which ops go to unless told otherwise, wait for each other, so
/// a tensor filled in the default stream can be used in any. Between two streams nothing waits:
/// let one wait_event() for the other, or call synchronize(), before a tensor goes from one to the
/// other or is destroyed in the other.
class Stream {
 public:
  /// Throws DeviceError, with the reason, when there is no GPU to use.
  Stream() { detail::check_memory("Stream", detail::backend().create_stream(&handle_)); }

  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Stream() {
    if (handle_) detail::cuda_backend->destroy_stream(handle_);
  }

  /// Waits until everything in the stream has run. Throws DeviceError with what went wrong in it.
  void synchronize() const {
    detail::check_memory("Stream::synchronize", detail::backend().synchronize(handle_));
  }

  /// What is enqueued in this stream from now on runs when `event`, as it was last recorded, has
  /// been reached; the host does not wait. Defined in event.hpp.
  void wait_event(const Event& event) const;

  /// CUDA's cudaStream_t.
  void* handle() const noexcept { return handle_; }

 private:
  detail::Backend::Stream handle_ = nullptr;
};

/// While it lives, this thread's ops go to `stream`, as in PyTorch's `with torch.cuda.stream(s):`.
class ScopedStream {
 public:
  explicit ScopedStream(const Stream& stream) noexcept
      : before_(std::exchange(detail::current_stream, stream.handle())) {}
  ScopedStream(const ScopedStream&) = delete;
  ScopedStream& operator=(const ScopedStream&) = delete;
  ~ScopedStream() { detail::current_stream = before_; }

 private:
  detail::Backend::Stream before_;
};

/// Waits until everything in this thread's current stream has run, as
/// torch.cuda.current_stream().synchronize(). Throws DeviceError with what went wrong in it.
inline void synchronize() {
  detail::check_memory("synchronize", detail::backend().synchronize(detail::current_stream));
}

}  // namespace lora::inline v0
