// SPDX-License-Identifier: MIT
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "sanitizers.hpp"
#include "scheduler.hpp"
#include "shared_arena.hpp"

namespace lora_emu {

namespace {

// A block's 227 KB, with room for red zones and alignment.
constexpr std::size_t kArenaBytes = 512 * 1024;
constexpr std::size_t kRedZone = 128;
constexpr std::size_t kStaticLimit = 48 * 1024;
const SharedSlot kDynamicSlot{"dynamic shared memory", "the launch", 0, 0};

char* map_arena() {
  void* const memory = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<char*>(memory);
}

bool untouched(const char* begin, const char* end) {
  return std::all_of(begin, end,
                     [](char byte) { return static_cast<unsigned char>(byte) == 0xFF; });
}

}  // namespace

SharedArena::SharedArena() : memory_(map_arena()) {}

void SharedArena::begin_block(std::size_t dynamic_bytes) {
  if (kThreadSanitizer) {
    // New memory, so that what the previous block did here is no part of any race.
    munmap(memory_, kArenaBytes);
    memory_ = map_arena();
  }
  unpoison(memory_, kArenaBytes);
  arrays_.clear();
  static_bytes_ = 0;
  used_ = 0;
  dynamic_ = nullptr;
  fill_unobserved(memory_, kRedZone);
  used_ = kRedZone;
  poison(memory_, kRedZone);
  if (dynamic_bytes != 0) {
    dynamic_ = allocate(dynamic_bytes, 128, 0);
    arrays_.push_back({&kDynamicSlot, dynamic_, dynamic_bytes});
  }
}

char* SharedArena::allocate(std::size_t bytes, std::size_t alignment, std::size_t offset) {
  const std::size_t begin = (used_ + alignment - 1) / alignment * alignment + offset;
  const std::size_t end = begin + bytes + kRedZone;
  fill_unobserved(memory_ + used_, end - used_);
  poison(memory_ + used_, begin - used_);
  poison(memory_ + begin + bytes, kRedZone);
  used_ = end;
  return memory_ + begin;
}

void* SharedArena::find(const SharedSlot& slot) {
  for (const Array& array : arrays_) {
    if (array.slot == &slot) return array.begin;
  }
  const Unobserved unobserved;
  static_bytes_ += slot.bytes;
  if (static_bytes_ > kStaticLimit) return nullptr;
  // 16 bytes are promised, so 32 are not given.
  arrays_.push_back({&slot, allocate(slot.bytes, 32, 16), slot.bytes});
  return arrays_.back().begin;
}

bool SharedArena::contains(const void* address, std::size_t bytes) const {
  const char* const first = static_cast<const char*>(address);
  return std::any_of(arrays_.begin(), arrays_.end(), [&](const Array& array) {
    return first >= array.begin && first + bytes <= array.begin + array.bytes;
  });
}

std::string SharedArena::damage() const {
  if (kAddressSanitizer) return {};
  const char* before = memory_;
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    const Array& array = arrays_[i];
    const char* const end = array.begin + array.bytes;
    const char* const zone_end = i + 1 < arrays_.size() ? arrays_[i + 1].begin : end + kRedZone;
    const char* side = nullptr;
    if (i == 0 && !untouched(before, array.begin)) side = "before";
    if (!untouched(end, zone_end)) side = "after";
    if (side) {
      return std::string("shared memory ") + side + " the " + std::to_string(array.bytes) +
             " bytes of '" + array.slot->name + "' was written to (declared in " +
             array.slot->file + ":" + std::to_string(array.slot->line) + ")";
    }
  }
  return {};
}

void* shared_memory(const SharedSlot& slot) {
  SharedArena& arena = self().block->shared;
  void* const memory = arena.find(slot);
  if (!memory) {
    fail(Location(),
         "%s:%d: with '%s' the block has %zu bytes of static shared memory, more than "
         "48 KB",
         slot.file, slot.line, slot.name, arena.static_bytes());
  }
  return memory;
}

void* dynamic_shared_memory() {
  void* const memory = self().block->shared.dynamic();
  if (!memory) fail(Location(), "the launch gave no dynamic shared memory");
  return memory;
}

}  // namespace lora_emu
