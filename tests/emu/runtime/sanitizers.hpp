// SPDX-License-Identifier: MIT
#pragma once

// What the sanitizers must be told. The runtime itself is never instrumented: it is the hardware,
// not the program under test. One build of it serves every kind of program, because these symbols
// are null in a program that is linked without the sanitizer.

#include <cstddef>
#include <cstring>

extern "C" {
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void __tsan_acquire(void* address);
[[gnu::weak]] void __tsan_release(void* address);
[[gnu::weak]] void __tsan_func_entry(void* call_pc);
[[gnu::weak]] void __tsan_func_exit();
[[gnu::weak]] void __tsan_read_range(void* address, std::size_t bytes);
[[gnu::weak]] void __tsan_write_range(void* address, std::size_t bytes);
[[gnu::weak]] void __tsan_ignore_thread_begin();
[[gnu::weak]] void __tsan_ignore_thread_end();
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom,
                                                  std::size_t bytes);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom_old,
                                                   std::size_t* bytes_old);
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* address, std::size_t bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* address, std::size_t bytes);
[[gnu::weak]] void* __asan_region_is_poisoned(void* address, std::size_t bytes);
}

namespace lora_emu {

inline const bool kThreadSanitizer = __tsan_switch_to_fiber != nullptr;
inline const bool kAddressSanitizer = __asan_poison_memory_region != nullptr;

inline void acquire(void* address) {
  if (kThreadSanitizer) __tsan_acquire(address);
}
inline void release(void* address) {
  if (kThreadSanitizer) __tsan_release(address);
}

/// While it lives, ThreadSanitizer does not see what the running thread allocates or copies: the
/// bookkeeping of the runtime passes between threads that do not synchronise.
class Unobserved {
 public:
  Unobserved() {
    if (kThreadSanitizer) __tsan_ignore_thread_begin();
  }
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
  ~Unobserved() {
    if (kThreadSanitizer) __tsan_ignore_thread_end();
  }
};

/// An access of the running thread, to be held against those of others. `call_pc` is the place in
/// the kernel that reports name.
inline void note_read(const void* address, std::size_t bytes, void* call_pc) {
  if (!kThreadSanitizer || bytes == 0) return;
  __tsan_func_entry(call_pc);
  __tsan_read_range(const_cast<void*>(address), bytes);
  __tsan_func_exit();
}
inline void note_write(void* address, std::size_t bytes, void* call_pc) {
  if (!kThreadSanitizer || bytes == 0) return;
  __tsan_func_entry(call_pc);
  __tsan_write_range(address, bytes);
  __tsan_func_exit();
}

/// 0xFF bytes: NaN as floats.
inline void fill_unobserved(void* memory, std::size_t bytes) {
  const Unobserved unobserved;
  std::memset(memory, 0xFF, bytes);
}

inline void poison(const void* address, std::size_t bytes) {
  if (kAddressSanitizer) __asan_poison_memory_region(address, bytes);
}
inline void unpoison(const void* address, std::size_t bytes) {
  if (kAddressSanitizer) __asan_unpoison_memory_region(address, bytes);
}
inline bool poisoned(const void* address, std::size_t bytes) {
  return kAddressSanitizer && bytes != 0 &&
         __asan_region_is_poisoned(const_cast<void*>(address), bytes) != nullptr;
}

}  // namespace lora_emu
