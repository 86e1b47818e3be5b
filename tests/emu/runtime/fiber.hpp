// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <vector>

namespace lora_emu {

/// A stack with a place to go on from. The main fiber is the stack that the launch came in on.
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  std::size_t stack_bytes = 0;
  void* thread_sanitizer = nullptr;
  void* fake_stack = nullptr;
};

/// Makes this fiber begin with `entry`, which never returns.
void prepare_fiber(Fiber& fiber, void (*entry)());

/// Leaves `from` and goes on in `to`. `leaving_for_good`: nobody will come back to `from`.
void switch_fiber(Fiber& from, Fiber& to, bool leaving_for_good = false);

/// To be called first by an entry function.
void enter_fiber();

/// Describes the stack that runs now.
void describe_main_fiber(Fiber& fiber);

/// Fibers to be used again. Under ThreadSanitizer a fiber is what a thread is elsewhere: two CUDA
/// threads that must not race with each other must not share one.
class FiberPool {
 public:
  FiberPool() = default;
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  Fiber& take();
  /// Has this many ready to take. A fiber inherits what its maker has seen, so that under
  /// ThreadSanitizer the main fiber has to make those of the threads of a block.
  void prepare(std::size_t count);
  void give_back(Fiber& fiber) { free_.push_back(&fiber); }
  /// A fiber that was left in the middle of its work; its last act is to release `sync`.
  void give_back_abandoned(Fiber& fiber, void* sync);

 private:
  Fiber& make();

  std::vector<Fiber*> free_;
  std::size_t created_ = 0;
};

}  // namespace lora_emu
