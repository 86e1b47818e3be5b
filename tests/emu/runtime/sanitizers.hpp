// SPDX-License-Identifier: MIT
#pragma once

// What the sanitizers must be told. The runtime itself is never instrumented: it is the hardware,
// not the program under test. One build of it serves every kind of program, because these symbols
// are null in a program that is linked without the sanitizer.

#include <cstddef>
#include <cstdint>

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

// Byte by byte through volatile, because memcpy and memset tell ThreadSanitizer of an access.

inline void fill_silently(void* memory, std::size_t bytes) {
  auto* byte = static_cast<volatile char*>(memory);
  auto* const end = byte + bytes;
  while (byte != end && reinterpret_cast<std::uintptr_t>(byte) % 8 != 0) *byte++ = '\xFF';
  for (; end - byte >= 8; byte += 8) *reinterpret_cast<volatile std::uint64_t*>(byte) = ~0ull;
  while (byte != end) *byte++ = '\xFF';
}
inline void copy_silently(void* to, const void* from, std::size_t bytes) {
  auto* const target = static_cast<volatile char*>(to);
  for (std::size_t i = 0; i < bytes; ++i) target[i] = static_cast<const char*>(from)[i];
}
inline void zero_silently(void* memory, std::size_t bytes) {
  auto* const target = static_cast<volatile char*>(memory);
  for (std::size_t i = 0; i < bytes; ++i) target[i] = 0;
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
