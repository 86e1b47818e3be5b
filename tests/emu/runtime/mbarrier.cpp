// SPDX-License-Identifier: MIT
#include <lora_emu/ptx.hpp>

#include "async_copy.hpp"
#include "sanitizers.hpp"
#include "scheduler.hpp"

namespace lora_emu {

namespace {

MemoryBarrier& find(std::uint64_t* barrier, Location where, void* call_pc) {
  auto& barriers = self().block->memory_barriers;
  const auto found = barriers.find(barrier);
  if (found == barriers.end()) fail(where, "an mbarrier that was not initialised");
  // Whoever uses it must come after who initialised it.
  note_read(barrier, sizeof *barrier, call_pc);
  return found->second;
}

/// Lets the copies of the phase land, which they do as late as they may: when somebody waits for
/// them, or for the phase to end.
void land_copies(MemoryBarrier& barrier, void* call_pc) {
  if (barrier.copies.empty()) return;
  void* const sync = &barrier.sync[barrier.phase & 1];
  acquire(sync);
  for (const AsyncCopy& copy : barrier.copies) {
    land(copy, call_pc);
    barrier.transaction_bytes -= copy.bytes;
  }
  barrier.copies.clear();
  release(sync);
}

void complete_if_over(MemoryBarrier& barrier, Location where, void* call_pc) {
  if (barrier.pending != 0) return;
  land_copies(barrier, call_pc);
  if (barrier.transaction_bytes < 0) {
    fail(where, "the copies bring %lld bytes more than the mbarrier expects",
         -barrier.transaction_bytes);
  }
  if (barrier.transaction_bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  scheduler().note_progress();
  const Unobserved unobserved;
  for (Thread* thread : barrier.waiting) scheduler().make_ready(*thread);
  barrier.waiting.clear();
}

}  // namespace

void mbarrier_init(std::uint64_t* barrier, int arrivals, Location where) {
  check_aligned(barrier, sizeof *barrier, where);
  Block& block = *self().block;
  if (!block.shared.contains(barrier, sizeof *barrier)) {
    fail(where, "an mbarrier outside of shared memory");
  }
  if (arrivals <= 0) fail(where, "an mbarrier for %d arrivals", arrivals);
  note_write(barrier, sizeof *barrier, __builtin_return_address(0));
  const Unobserved unobserved;
  MemoryBarrier& state = block.memory_barriers[barrier];
  state = {};
  state.expected = state.pending = static_cast<unsigned>(arrivals);
}

void mbarrier_arrive(std::uint64_t* barrier, int bytes, Location where) {
  void* const call_pc = __builtin_return_address(0);
  MemoryBarrier& state = find(barrier, where, call_pc);
  if (state.pending == 0) complete_if_over(state, where, call_pc);
  if (state.pending == 0) fail(where, "more arrivals at an mbarrier than its %u", state.expected);
  release(&state.sync[state.phase & 1]);
  state.transaction_bytes += bytes;
  --state.pending;
  if (!state.waiting.empty()) complete_if_over(state, where, call_pc);
}

bool mbarrier_is_over(std::uint64_t* barrier, unsigned parity, Location where) {
  void* const call_pc = __builtin_return_address(0);
  MemoryBarrier& state = find(barrier, where, call_pc);
  if ((state.phase & 1) == parity) complete_if_over(state, where, call_pc);
  if ((state.phase & 1) == parity) {
    yield(false, where);
    return false;
  }
  acquire(&state.sync[parity]);
  return true;
}

void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Location where) {
  void* const call_pc = __builtin_return_address(0);
  MemoryBarrier& state = find(barrier, where, call_pc);
  while ((state.phase & 1) == parity) {
    complete_if_over(state, where, call_pc);
    if ((state.phase & 1) != parity) break;
    Thread& thread = self();
    thread.state = State::kMemoryBarrier;
    thread.waits_for = "an mbarrier";
    thread.pending_arrivals = state.pending;
    thread.pending_bytes = state.transaction_bytes;
    thread.where = where;
    {
      const Unobserved unobserved;
      state.waiting.push_back(&thread);
    }
    scheduler().suspend();
  }
  acquire(&state.sync[parity]);
}

void bulk_copy(void* shared, const void* global, int bytes, std::uint64_t* barrier,
               Location where) {
  void* const call_pc = __builtin_return_address(0);
  MemoryBarrier& state = find(barrier, where, call_pc);
  const auto count = static_cast<unsigned>(bytes);
  if (bytes <= 0 || count % 16 != 0) {
    fail(where, "a bulk copy of %d bytes, which is no multiple of 16", bytes);
  }
  const AsyncCopy copy{static_cast<char*>(shared), static_cast<const char*>(global), count, count,
                       where};
  begin_copy(copy, call_pc);
  release(&state.sync[state.phase & 1]);
  {
    const Unobserved unobserved;
    state.copies.push_back(copy);
  }
  if (!state.waiting.empty()) complete_if_over(state, where, call_pc);
}

}  // namespace lora_emu
