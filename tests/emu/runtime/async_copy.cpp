// SPDX-License-Identifier: MIT
#include <cstring>

#include <lora_emu/ptx.hpp>

#include "async_copy.hpp"
#include "sanitizers.hpp"

namespace lora_emu {

void check_aligned(const void* address, unsigned alignment, Location where) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    fail(where, "an access of %u bytes at an address that is not a multiple of it", alignment);
  }
}

// The bytes may land at any time between the copy and the wait. So the destination is spoilt now,
// the source is read as late as may be, and ThreadSanitizer hears of both at both times.

void begin_copy(const AsyncCopy& copy, void* call_pc) {
  check_aligned(copy.to, copy.bytes < 16 ? copy.bytes : 16, copy.where);
  check_aligned(copy.from, copy.bytes < 16 ? copy.bytes : 16, copy.where);
  if (copy.source_bytes > copy.bytes) {
    fail(copy.where, "reads %u bytes to fill %u", copy.source_bytes, copy.bytes);
  }
  if (!self().block->shared.contains(copy.to, copy.bytes)) {
    fail(copy.where, "the destination is not within one array of shared memory");
  }
  if (poisoned(copy.to, copy.bytes)) {
    fail(copy.where, "the destination still awaits an earlier copy");
  }
  if (poisoned(copy.from, copy.source_bytes)) fail(copy.where, "the source is out of bounds");
  note_read(copy.from, copy.source_bytes, call_pc);
  note_write(copy.to, copy.bytes, call_pc);
  fill_unobserved(copy.to, copy.bytes);
  // AddressSanitizer has one mark for 8 bytes.
  if (copy.bytes >= 8) poison(copy.to, copy.bytes);
}

void land(const AsyncCopy& copy, void* call_pc) {
  unpoison(copy.to, copy.bytes);
  note_read(copy.from, copy.source_bytes, call_pc);
  note_write(copy.to, copy.bytes, call_pc);
  const Unobserved unobserved;
  std::memcpy(copy.to, copy.from, copy.source_bytes);
  std::memset(copy.to + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes,
              Location where) {
  Thread& thread = self();
  const AsyncCopy copy{static_cast<char*>(shared), static_cast<const char*>(global), bytes,
                       source_bytes, where};
  begin_copy(copy, __builtin_return_address(0));
  const Unobserved unobserved;
  thread.copies.push_back(copy);
  ++thread.uncommitted;
}

void cp_async_commit() {
  const Unobserved unobserved;
  Thread& thread = self();
  thread.copy_groups.push_back({thread.uncommitted});
  thread.uncommitted = 0;
}

void cp_async_wait(std::size_t pending, Location) {
  Thread& thread = self();
  auto& groups = thread.copy_groups;
  std::size_t over = 0;
  std::size_t landed = 0;
  for (; groups.size() - over > pending; ++over) {
    for (std::size_t i = 0; i < groups[over].copies; ++i) {
      land(thread.copies[landed++], __builtin_return_address(0));
    }
  }
  const Unobserved unobserved;
  groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(over));
  thread.copies.erase(thread.copies.begin(),
                      thread.copies.begin() + static_cast<std::ptrdiff_t>(landed));
}

}  // namespace lora_emu
