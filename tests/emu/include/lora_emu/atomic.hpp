// SPDX-License-Identifier: MIT
#pragma once

// Atomics are relaxed, as CUDA's: what else a thread wrote is seen by others only through fences.

#include <type_traits>

#include <lora_emu/thread.hpp>

namespace lora_emu {

/// Before and after an atomic access: orders memory as the fences of this thread ask, and lets
/// other threads run now and then, so that a loop around an atomic cannot stand still.
void before_atomic(const void* address);
void after_atomic(const void* address, bool changed, Location where);

template <class T>
struct NoDeduction {
  using type = T;
};
template <class T>
using Same = typename NoDeduction<T>::type;

/// Replaces *address by update(old) and returns old.
template <class T, class Update>
__forceinline__ T atomic_update(T* address, const Update& update, Location where) {
  before_atomic(address);
  T old;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  T fresh = update(old);
  while (
      !__atomic_compare_exchange(address, &old, &fresh, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    fresh = update(old);
  }
  after_atomic(address, fresh != old, where);
  return old;
}

}  // namespace lora_emu

#define LORA_EMU_ATOMIC(name, result)                                                \
  template <class T>                                                                 \
  __forceinline__ T name(T* address, lora_emu::Same<T> value,                        \
                         lora_emu::Location where = lora_emu::Location::current()) { \
    return lora_emu::atomic_update(                                                  \
        address, [value](T old) { return static_cast<T>(result); }, where);          \
  }

LORA_EMU_ATOMIC(atomicAdd, old + value)
LORA_EMU_ATOMIC(atomicSub, old - value)
LORA_EMU_ATOMIC(atomicExch, (static_cast<void>(old), value))
LORA_EMU_ATOMIC(atomicMin, old < value ? old : value)
LORA_EMU_ATOMIC(atomicMax, old > value ? old : value)
LORA_EMU_ATOMIC(atomicAnd, old& value)
LORA_EMU_ATOMIC(atomicOr, old | value)
LORA_EMU_ATOMIC(atomicXor, old ^ value)
LORA_EMU_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
LORA_EMU_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)

#undef LORA_EMU_ATOMIC

template <class T>
__forceinline__ T atomicCAS(T* address, lora_emu::Same<T> expected, lora_emu::Same<T> desired,
                            lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::atomic_update(
      address, [=](T old) { return old == expected ? desired : old; }, where);
}
