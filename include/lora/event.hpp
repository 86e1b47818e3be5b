// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>

#include <lora/detail/backend.hpp>
#include <lora/detail/storage.hpp>
#include <lora/device.hpp>
#include <lora/error.hpp>
#include <lora/stream.hpp>

namespace lora::inline v0 {

/// A mark in a stream, as torch.cuda.Event: reached when everything that was enqueued before it has
/// run. Move-only. One that was never recorded counts as reached.
class Event {
 public:
  /// `enable_timing`: for elapsed_time(), which makes an event cost more. Throws DeviceError, with
  /// the reason, when there is no GPU to use.
  explicit Event(bool enable_timing = false) : enable_timing_(enable_timing) {
    detail::check_memory("Event", detail::backend().create_event(&handle_, enable_timing));
  }

  Event(Event&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)),
        enable_timing_(other.enable_timing_),
        recorded_(other.recorded_) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(enable_timing_, other.enable_timing_);
    std::swap(recorded_, other.recorded_);
    return *this;
  }
  ~Event() {
    if (handle_) detail::cuda_backend->destroy_event(handle_);
  }

  /// Sets the mark behind what this thread's current stream holds. An event that is recorded again
  /// forgets where it was.
  void record() { record_in(detail::current_stream); }

  /// The same in `stream`.
  void record(const Stream& stream) { record_in(stream.handle()); }

  /// Whether the mark has been reached; does not wait.
  bool query() const {
    bool reached = false;
    detail::check_memory("Event::query", detail::backend().query_event(handle_, &reached));
    return reached;
  }

  /// Waits until the mark has been reached. Throws DeviceError with what went wrong before it.
  void synchronize() const {
    detail::check_memory("Event::synchronize", detail::backend().synchronize_event(handle_));
  }

  /// Milliseconds from this event to `end`, both of which have been reached. Throws ValueError
  /// where one was not recorded or has no timing, and DeviceError where one has not been reached
  /// yet.
  double elapsed_time(const Event& end) const {
    require_time("the first");
    end.require_time("the second");
    float milliseconds = 0;
    detail::check_memory("Event::elapsed_time",
                         detail::backend().elapsed_time(handle_, end.handle_, &milliseconds));
    return milliseconds;
  }

  /// CUDA's cudaEvent_t.
  void* handle() const noexcept { return handle_; }

 private:
  void record_in(detail::Backend::Stream stream) {
    detail::check_memory("Event::record", detail::backend().record_event(handle_, stream));
    recorded_ = true;
  }

  void require_time(const char* which) const {
    if (enable_timing_ && recorded_) return;
    throw ValueError(std::string("Event::elapsed_time: ") + which + " event " +
                     (enable_timing_ ? "was never recorded" : "was made without enable_timing"));
  }

  detail::Backend::Event handle_ = nullptr;
  bool enable_timing_ = false;
  bool recorded_ = false;
};

inline void Stream::wait_event(const Event& event) const {
  detail::check_memory("Stream::wait_event", detail::backend().wait_event(handle_, event.handle()));
}

}  // namespace lora::inline v0
