// SPDX-License-Identifier: MIT
#pragma once

// What the lanes of a warp do together. Every lane in the mask has to come; none of these but
// __syncwarp orders memory, as on the device.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <lora_emu/thread.hpp>

namespace lora_emu {

/// What one lane brings to a shuffle and takes from it.
struct LaneExchange {
  std::uint64_t value;
  unsigned source;
  std::uint64_t result;
};

/// Called once for all lanes: `lanes[i]` is what lane i brought, null where the mask has no lane i.
/// Returns the lane that broke a rule, or -1.
using WarpFunction = int (*)(void* const (&lanes)[32], unsigned mask);

/// Waits until all lanes of the mask are here and then lets `function` do their work. `rule` says
/// what a lane that `function` returns did wrong.
void warp_rendezvous(const char* name, unsigned mask, void* lane, WarpFunction function,
                     const char* rule, Location where);

unsigned lane_id();
void warp_barrier(unsigned mask, Location where);
unsigned warp_ballot(unsigned mask, bool predicate, const char* name, Location where);
std::uint64_t warp_shuffle(unsigned mask, std::uint64_t value, unsigned source, const char* name,
                           Location where);
unsigned warp_reduce(unsigned mask, unsigned value, const char* name, WarpFunction function,
                     Location where);

int reduce_add(void* const (&lanes)[32], unsigned mask);
int reduce_min(void* const (&lanes)[32], unsigned mask);
int reduce_max(void* const (&lanes)[32], unsigned mask);

template <class T>
__forceinline__ T shuffle(unsigned mask, T value, unsigned source, const char* name,
                          Location where) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8,
                "shuffles move numbers of up to 64 bits");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_shuffle(mask, bits, source, name, where);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// The lane that a shuffle reads; its own where `source` leaves the segment of `width` lanes.
__forceinline__ unsigned within_segment(int source, int width) {
  const int lane = static_cast<int>(lane_id());
  const int first = lane & ~(width - 1);
  return static_cast<unsigned>(source >= first && source < first + width ? source : lane);
}

}  // namespace lora_emu

__forceinline__ void __syncwarp(unsigned mask = 0xffffffffu,
                                lora_emu::Location where = lora_emu::Location::current()) {
  lora_emu::warp_barrier(mask, where);
}

template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
                              lora_emu::Location where = lora_emu::Location::current()) {
  const unsigned first = lora_emu::lane_id() & ~static_cast<unsigned>(width - 1);
  const unsigned lane = first + (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1));
  return lora_emu::shuffle(mask, value, lane, "__shfl_sync", where);
}

template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                                 lora_emu::Location where = lora_emu::Location::current()) {
  const int source = static_cast<int>(lora_emu::lane_id()) - static_cast<int>(delta);
  return lora_emu::shuffle(mask, value, lora_emu::within_segment(source, width), "__shfl_up_sync",
                           where);
}

template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                                   lora_emu::Location where = lora_emu::Location::current()) {
  const int source = static_cast<int>(lora_emu::lane_id()) + static_cast<int>(delta);
  return lora_emu::shuffle(mask, value, lora_emu::within_segment(source, width), "__shfl_down_sync",
                           where);
}

/// A source below the lane's own segment is legal here, one above it gives the lane's own value.
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize,
                                  lora_emu::Location where = lora_emu::Location::current()) {
  const unsigned lane = lora_emu::lane_id();
  const unsigned last = lane | static_cast<unsigned>(width - 1);
  const unsigned source = lane ^ static_cast<unsigned>(lane_mask);
  return lora_emu::shuffle(mask, value, source <= last ? source : lane, "__shfl_xor_sync", where);
}

__forceinline__ unsigned __ballot_sync(unsigned mask, int predicate,
                                       lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_ballot(mask, predicate != 0, "__ballot_sync", where);
}
__forceinline__ int __any_sync(unsigned mask, int predicate,
                               lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_ballot(mask, predicate != 0, "__any_sync", where) != 0;
}
__forceinline__ int __all_sync(unsigned mask, int predicate,
                               lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_ballot(mask, predicate != 0, "__all_sync", where) == mask;
}

/// The hardware promises no more than that the caller is one of the lanes, so here it is the only.
__forceinline__ unsigned __activemask() { return 1u << lora_emu::lane_id(); }

__forceinline__ unsigned __reduce_add_sync(
    unsigned mask, unsigned value, lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_reduce(mask, value, "__reduce_add_sync", lora_emu::reduce_add, where);
}
__forceinline__ unsigned __reduce_min_sync(
    unsigned mask, unsigned value, lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_reduce(mask, value, "__reduce_min_sync", lora_emu::reduce_min, where);
}
__forceinline__ unsigned __reduce_max_sync(
    unsigned mask, unsigned value, lora_emu::Location where = lora_emu::Location::current()) {
  return lora_emu::warp_reduce(mask, value, "__reduce_max_sync", lora_emu::reduce_max, where);
}
