// SPDX-License-Identifier: MIT
#include "memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include <lora_emu/control.hpp>

#include "sanitizers.hpp"

namespace lora_emu {

namespace {

// cudaMalloc promises 256 bytes of alignment.
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kGuard = 256;

struct Allocation {
  std::size_t bytes;
  MemoryKind kind;
  /// What malloc gave: with guard bytes on both sides, except under AddressSanitizer.
  char* heap;
};

struct Registry {
  std::mutex mutex;
  std::map<std::uintptr_t, Allocation> allocations;
};

Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

std::size_t guard() { return kAddressSanitizer ? 0 : kGuard; }

/// The first byte of a guard that is not as it was, or null.
const char* changed_byte(const char* begin) {
  for (const char* byte = begin; byte != begin + guard(); ++byte) {
    if (static_cast<unsigned char>(*byte) != 0xFF) return byte;
  }
  return nullptr;
}

}  // namespace

void* allocate(std::size_t bytes, MemoryKind kind) {
  void* heap = nullptr;
  if (posix_memalign(&heap, kAlignment, bytes + 2 * guard()) != 0) return nullptr;
  std::memset(heap, 0xFF, bytes + 2 * guard());
  char* const memory = static_cast<char*>(heap) + guard();
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.allocations[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, kind,
                                                               static_cast<char*>(heap)};
  return memory;
}

bool free_memory(void* memory, MemoryKind kind) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.allocations.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == all.allocations.end() || found->second.kind != kind) return false;
  std::free(found->second.heap);
  all.allocations.erase(found);
  return true;
}

const void* block_of(const void* memory, MemoryKind kind) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  auto after = all.allocations.upper_bound(address);
  if (after == all.allocations.begin()) return nullptr;
  const auto& [begin, allocation] = *--after;
  const bool found = allocation.kind == kind && address - begin < allocation.bytes;
  return found ? reinterpret_cast<const void*>(begin) : nullptr;
}

bool stays_inside(const void* memory, std::size_t bytes) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  auto after = all.allocations.upper_bound(address);
  if (after == all.allocations.begin()) return true;
  const auto& [begin, allocation] = *--after;
  const std::size_t offset = address - begin;
  return offset >= allocation.bytes + guard() || offset + bytes <= allocation.bytes;
}

std::string damaged_guards() {
  if (guard() == 0) return {};
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const auto& [begin, allocation] : all.allocations) {
    const char* const memory = allocation.heap + guard();
    const char* byte = changed_byte(allocation.heap);
    if (!byte) byte = changed_byte(memory + allocation.bytes);
    if (byte) {
      // Reported once: what is freed or launched next is not to blame.
      std::memset(allocation.heap, 0xFF, guard());
      std::memset(allocation.heap + guard() + allocation.bytes, 0xFF, guard());
      return "global memory was written to at byte " + std::to_string(byte - memory) +
             " of a block of " + std::to_string(allocation.bytes);
    }
  }
  return {};
}

std::size_t live_allocations() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  return all.allocations.size();
}

}  // namespace lora_emu
