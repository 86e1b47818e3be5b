// SPDX-License-Identifier: MIT
#include "sanitizers.hpp"
#include "scheduler.hpp"

namespace lora_emu {

namespace {

void complete(Barrier& barrier) {
  const Unobserved unobserved;
  scheduler().note_progress();
  barrier.votes_of_generation[barrier.generation & 1] = barrier.votes;
  ++barrier.generation;
  barrier.arrived = barrier.votes = 0;
  for (Thread* thread : barrier.waiting) scheduler().make_ready(*thread);
  barrier.waiting.clear();
}

/// Returns how many threads voted for.
unsigned wait_at(Barrier& barrier, bool vote, State state) {
  Thread& thread = self();
  const unsigned parity = barrier.generation & 1;
  release(&barrier.sync[parity]);
  ++barrier.arrived;
  barrier.votes += vote;
  {
    const Unobserved unobserved;
    barrier.waiting.push_back(&thread);
  }
  thread.state = state;
  if (barrier.arrived == barrier.expected) complete(barrier);
  scheduler().suspend();
  acquire(&barrier.sync[parity]);
  return barrier.votes_of_generation[parity];
}

unsigned wait_for_all(const char* name, bool vote, Location where) {
  Thread& thread = self();
  Block& block = *thread.block;
  Barrier& barrier = block.barriers[0];
  if (block.exited != 0) {
    fail(where, "%s for a block of which %u threads have left the kernel", name, block.exited);
  }
  if (barrier.arrived == 0) {
    barrier.expected = static_cast<unsigned>(block.threads.size());
    barrier.where = where;
  } else if (barrier.where.line() != where.line()) {
    fail(where, "%s while others of the block wait at another, at line %u", name,
         barrier.where.line());
  }
  thread.where = where;
  thread.waits_for = name;
  return wait_at(barrier, vote, State::kBlockBarrier);
}

Barrier& arrive_at_named(int id, int threads, Location where) {
  if (id < 0 || id >= kNamedBarriers) fail(where, "barrier %d of 16", id);
  const auto count = static_cast<unsigned>(threads);
  const std::size_t block_threads = self().block->threads.size();
  if (threads <= 0 || count % 32 != 0 || count > (block_threads + 31) / 32 * 32) {
    fail(where, "barrier %d for %d threads of a block of %zu", id, threads, block_threads);
  }
  Barrier& barrier = self().block->barriers[id];
  if (barrier.arrived == 0) {
    barrier.expected = count;
    barrier.where = where;
  } else if (barrier.expected != count) {
    fail(where, "barrier %d for %d threads, which line %u began for %u", id, threads,
         barrier.where.line(), barrier.expected);
  }
  return barrier;
}

}  // namespace

void block_barrier(Location where) { wait_for_all("__syncthreads", false, where); }

int block_barrier_vote(Vote vote, bool predicate, Location where) {
  const unsigned votes = wait_for_all("__syncthreads with a vote", predicate, where);
  switch (vote) {
    case Vote::kCount:
      return static_cast<int>(votes);
    case Vote::kAnd:
      return votes == self().block->threads.size();
    default:
      return votes != 0;
  }
}

void named_barrier_sync(int id, int threads, Location where) {
  Barrier& barrier = arrive_at_named(id, threads, where);
  Thread& thread = self();
  thread.where = where;
  thread.detail = static_cast<unsigned>(id);
  wait_at(barrier, false, State::kNamedBarrier);
}

void named_barrier_arrive(int id, int threads, Location where) {
  Barrier& barrier = arrive_at_named(id, threads, where);
  release(&barrier.sync[barrier.generation & 1]);
  if (++barrier.arrived == barrier.expected) complete(barrier);
}

void yield(bool progressed, Location where) {
  Thread& thread = self();
  thread.spins = !progressed;
  thread.where = where;
  scheduler().yield_now(progressed);
  thread.spins = false;
}

void trap(Location where) { fail(where, "__trap"); }

// ThreadSanitizer knows no fences. So an atomic access after a fence publishes what its thread
// wrote, and a fence after atomic accesses acquires what others published at those addresses.

void thread_fence() {
  if (!kThreadSanitizer) return;
  Thread& thread = self();
  thread.fenced = true;
  for (const AtomicAddress& address : thread.atomic_addresses) {
    acquire(const_cast<void*>(address.value));
  }
  thread.atomic_addresses.clear();
}

}  // namespace lora_emu
