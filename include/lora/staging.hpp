// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <lora/detail/backend.hpp>
#include <lora/detail/pinned.hpp>
#include <lora/detail/storage.hpp>
#include <lora/device.hpp>
#include <lora/error.hpp>
#include <lora/event.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// Host memory in a few slots that the GPU reads by itself, for data that streams to it: while one
/// slot is on its way, the next is filled, and neither the host nor the stream stands still.
///
///     StagingRing<float> ring(batch_size * 784);
///     for (...) {
///       fill(ring.next());   // waits only when the GPU is a whole ring behind
///       ring.upload(x);      // enqueued in the current stream, as the ops that read x are
///     }
///
/// For one thread at a time, and not in what capture() records. Destruction waits for what is in
/// flight.
template <class T>
class StagingRing {
 public:
  /// `slots` buffers of `elements` numbers each. Throws ValueError unless both are at least 1 and
  /// DeviceError, with the reason, when there is no GPU to use.
  explicit StagingRing(index_t elements, int slots = 2)
      : elements_(require_sizes(elements, slots)),
        memory_(static_cast<std::size_t>(elements) * static_cast<std::size_t>(slots)) {
    while (uploaded_.size() < static_cast<std::size_t>(slots)) uploaded_.emplace_back();
  }
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  ~StagingRing() {
    // An error is thrown where the stream is waited for next.
    for (const Event& event : uploaded_) detail::cuda_backend->synchronize_event(event.handle());
  }

  index_t elements() const noexcept { return elements_; }
  int slots() const noexcept { return static_cast<int>(uploaded_.size()); }

  /// Goes on to the next slot and, once its last upload is done, hands out its memory, to be filled
  /// until the next call. Throws DeviceError with what went wrong in the stream before.
  std::span<T> next() {
    const std::size_t slot = is_open_ ? (slot_ + 1) % uploaded_.size() : slot_;
    uploaded_[slot].synchronize();
    slot_ = slot;
    is_open_ = true;
    return memory_of_slot();
  }

  /// Enqueues the copy of the slot's first to.numel() numbers in this thread's current stream.
  void upload(Tensor<T>& to) {
    upload(std::span<const T>(memory_of_slot()).first(std::min(size_of(to), capacity())), to);
  }

  /// The same of a part of the slot, as many numbers as `to` has: one slot can fill several
  /// tensors. Throws ShapeError where the numbers do not match or lie outside the slot, DeviceError
  /// where `to` is not on the GPU, and ValueError before the first next().
  void upload(std::span<const T> used, Tensor<T>& to) {
    if (!is_open_) throw ValueError("StagingRing::upload: call next() and fill the slot first");
    if (to.device() != Device::cuda) {
      throw DeviceError("StagingRing::upload: the tensor is " + describe(to) +
                        ", expected one on cuda");
    }
    const std::span<const T> slot = memory_of_slot();
    if (used.size() != size_of(to) || used.data() < slot.data() ||
        used.data() + used.size() > slot.data() + slot.size()) {
      throw ShapeError("StagingRing::upload: the tensor is " + describe(to) + ", expected " +
                       std::to_string(used.size()) + " elements, all in the slot of " +
                       std::to_string(elements_));
    }
    const detail::Backend& table = detail::backend();
    Event& uploaded = uploaded_[slot_];
    // The event has one place: behind this upload and behind the slot's others, in whatever stream.
    detail::check_memory("StagingRing::upload",
                         table.wait_event(detail::current_stream, uploaded.handle()));
    if (!used.empty()) {
      detail::check_memory("StagingRing::upload",
                           table.copy_from_pinned(to.data(), used.data(), used.size_bytes(),
                                                  detail::current_stream));
    }
    uploaded.record();
  }

 private:
  static index_t require_sizes(index_t elements, int slots) {
    if (elements >= 1 && slots >= 1) return elements;
    throw ValueError("StagingRing: " + std::to_string(slots) + " slots of " +
                     std::to_string(elements) + " elements, expected at least 1 of each");
  }
  static std::size_t size_of(const Tensor<T>& x) { return static_cast<std::size_t>(x.numel()); }

  std::size_t capacity() const { return static_cast<std::size_t>(elements_); }
  std::span<T> memory_of_slot() const { return {memory_.data() + slot_ * capacity(), capacity()}; }

  index_t elements_;
  detail::PinnedMemory<T> memory_;
  std::vector<Event> uploaded_;  // one a slot
  std::size_t slot_ = 0;
  bool is_open_ = false;  // next() has been called
};

}  // namespace lora::inline v0
