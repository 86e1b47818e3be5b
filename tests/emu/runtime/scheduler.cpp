// SPDX-License-Identifier: MIT
#include "scheduler.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "sanitizers.hpp"

namespace lora_emu {

ThreadView* current_thread = nullptr;

namespace {

void fiber_entry() {
  enter_fiber();
  scheduler().run_threads_of_fiber();
}

// While all that run only look again, a block that has not begun may be what they look for.
constexpr std::uint64_t kIdleRoundsBeforeNextBlock = 16;
constexpr std::uint64_t kIdleRoundsBeforeDeadlock = 4096;

constexpr const char* kDeadlock = "deadlock, no thread can go on";

/// What a block whose threads have all left should have seen to; empty if nothing is left.
std::string loose_ends(const Block& block) {
  std::string text = block.shared.damage();
  for (int id = 0; id < kNamedBarriers && text.empty(); ++id) {
    const Barrier& barrier = block.barriers[id];
    if (barrier.arrived == 0) continue;
    text = position(barrier.where) + ": " + std::to_string(barrier.arrived) + " of " +
           std::to_string(barrier.expected) + " threads arrived at barrier " + std::to_string(id) +
           ", and nobody waited";
  }
  for (const auto& [address, barrier] : block.memory_barriers) {
    if (!text.empty() || barrier.copies.empty()) continue;
    text = position(barrier.copies.back().where) + ": a bulk copy that nobody waited for";
  }
  return text;
}

}  // namespace

Scheduler& scheduler() {
  // Never destroyed: fibers may outlive the order in which a program ends.
  static auto* const instance = new Scheduler;
  return *instance;
}

Thread& Scheduler::pick() {
  const std::size_t i = random_.below(ready_.size());
  Thread& thread = *ready_[i];
  ready_[i] = ready_.back();
  ready_.pop_back();
  return thread;
}

void Scheduler::go_on(Fiber& from, bool leaving_for_good) {
  if (return_to_main_ || ready_.empty()) {
    if (&from != &main_) switch_fiber(from, main_, leaving_for_good);
    return;
  }
  Thread& next = pick();
  if (!next.fiber) {
    const Unobserved unobserved;
    next.fiber = &pool_.take();
    prepare_fiber(*next.fiber, fiber_entry);
  }
  current_thread = &next;
  if (next.fiber != &from) switch_fiber(from, *next.fiber, leaving_for_good);
}

void Scheduler::suspend() { go_on(*self().fiber, false); }

void Scheduler::yield_now(bool progressed) {
  Thread& thread = self();
  idle_yields_ = progressed ? 0 : idle_yields_ + 1;
  {
    const Unobserved unobserved;
    make_ready(thread);
  }
  const std::uint64_t rounds = idle_yields_ / ready_.size();
  if (rounds > kIdleRoundsBeforeNextBlock && more_blocks_ && blocks_.size() < capacity_) {
    wanted_blocks_ = blocks_.size() + 1;
    return_to_main_ = true;
  } else if (rounds > kIdleRoundsBeforeDeadlock) {
    fail(kDeadlock, true);
  }
  suspend();
}

void Scheduler::fail(const char* text, bool tell_of_threads) {
  {
    const Unobserved unobserved;
    error_ = text;
    tell_of_threads_ = tell_of_threads;
  }
  return_to_main_ = true;
  switch_fiber(*self().fiber, main_);
  std::abort();
}

void Scheduler::run_threads_of_fiber() {
  for (;;) {
    Thread& thread = self();
    acquire(&thread.block->start_sync);
    (*launch_->thread)();
    release(&end_sync_);
    finish_thread(thread);
    Fiber& fiber = *std::exchange(thread.fiber, nullptr);
    if (kThreadSanitizer) {
      {
        const Unobserved unobserved;
        thread.block->used_fibers.push_back(&fiber);
      }
      go_on(fiber, true);
    } else if (return_to_main_ || ready_.empty()) {
      pool_.give_back(fiber);
      switch_fiber(fiber, main_, true);
    } else {
      // Threads that never wait need no switch: they run one after another on this stack.
      Thread& next = pick();
      current_thread = &next;
      if (!next.fiber) {
        next.fiber = &fiber;
        continue;
      }
      pool_.give_back(fiber);
      switch_fiber(fiber, *next.fiber, true);
    }
    std::abort();
  }
}

void Scheduler::start_block(std::uint64_t linear_index) {
  if (free_blocks_.empty()) free_blocks_.push_back(std::make_unique<Block>());
  blocks_.push_back(std::move(free_blocks_.back()));
  free_blocks_.pop_back();
  Block& block = *blocks_.back();
  const dim3& grid = launch_->grid;
  const dim3& extent = launch_->block;
  const unsigned count = extent.x * extent.y * extent.z;
  const uint3 index{static_cast<unsigned>(linear_index % grid.x),
                    static_cast<unsigned>(linear_index / grid.x % grid.y),
                    static_cast<unsigned>(linear_index / grid.x / grid.y)};
  if (kThreadSanitizer) pool_.prepare(count);
  block.alive = count;
  block.exited = 0;
  block.memory_barriers.clear();
  block.shared.begin_block(launch_->shared_bytes);
  block.warps.resize((count + 31) / 32);
  for (unsigned w = 0; w < block.warps.size(); ++w) {
    const unsigned lanes = std::min(32u, count - w * 32);
    block.warps[w].existing = lanes == 32 ? ~0u : (1u << lanes) - 1;
    block.warps[w].exited = 0;
    block.warps[w].meetings.clear();
  }
  for (Barrier& barrier : block.barriers) {
    barrier.arrived = barrier.votes = 0;
    barrier.waiting.clear();
  }
  if (block.threads.size() != count) block.threads = std::vector<Thread>(count);
  unsigned linear = 0;
  for (unsigned z = 0; z < extent.z; ++z) {
    for (unsigned y = 0; y < extent.y; ++y) {
      for (unsigned x = 0; x < extent.x; ++x) {
        Thread& thread = block.threads[linear];
        static_cast<ThreadView&>(thread) = {{x, y, z}, index, extent, grid};
        thread.block = &block;
        thread.fiber = nullptr;
        thread.linear = linear++;
        thread.spins = thread.fenced = false;
        thread.atomic_addresses.clear();
        thread.looks.clear();
        thread.copies.clear();
        thread.copy_groups.clear();
        thread.uncommitted = 0;
        make_ready(thread);
      }
    }
  }
  release(&block.start_sync);
}

void Scheduler::finish_thread(Thread& thread) {
  Block& block = *thread.block;
  if (thread.uncommitted != 0 || !thread.copies.empty()) {
    lora_emu::fail(thread.copies.back().where,
                   "a cp.async that was not waited for when the kernel was left");
  }
  Warp& warp = block.warps[thread.linear / 32];
  const unsigned lane_bit = 1u << (thread.linear % 32);
  warp.exited |= lane_bit;
  for (const Meeting& meeting : warp.meetings) {
    if (meeting.mask & lane_bit) {
      lora_emu::fail(meeting.where, "%s waits for lane %u, which left the kernel (mask %08x)",
                     meeting.name, thread.linear % 32, meeting.mask);
    }
  }
  thread.state = State::kDone;
  ++block.exited;
  const Barrier& barrier = block.barriers[0];
  if (barrier.expected == block.threads.size() && !barrier.waiting.empty()) {
    fail("some threads left the kernel while others wait at a barrier for all", true);
  }
  note_progress();
  if (--block.alive == 0) return_to_main_ = true;
}

bool Scheduler::retire_blocks() {
  for (std::size_t i = 0; i < blocks_.size();) {
    Block& block = *blocks_[i];
    if (block.alive != 0) {
      ++i;
      continue;
    }
    for (Fiber* fiber : block.used_fibers) pool_.give_back(*fiber);
    block.used_fibers.clear();
    error_ = loose_ends(block);
    if (!error_.empty()) error_ += ", in block " + index_text(block.threads[0].block_index);
    free_blocks_.push_back(std::move(blocks_[i]));
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!error_.empty()) return false;
  }
  return true;
}

void Scheduler::abandon_blocks() {
  for (auto& block : blocks_) {
    for (Thread& thread : block->threads) {
      if (!thread.fiber) continue;
      pool_.give_back_abandoned(*std::exchange(thread.fiber, nullptr), &end_sync_);
    }
    for (Fiber* fiber : block->used_fibers) pool_.give_back(*fiber);
    block->used_fibers.clear();
    free_blocks_.push_back(std::move(block));
  }
  blocks_.clear();
  ready_.clear();
}

std::string Scheduler::run(const Launch& launch, std::uint64_t seed, int resident_blocks,
                           int capacity) {
  launch_ = &launch;
  seed_ = seed;
  random_ = Random(seed);
  error_.clear();
  tell_of_threads_ = false;
  idle_yields_ = 0;
  wanted_blocks_ = static_cast<std::size_t>(std::max(1, resident_blocks));
  capacity_ = static_cast<std::size_t>(std::max(resident_blocks, capacity));
  describe_main_fiber(main_);

  const std::uint64_t total = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  std::vector<std::uint32_t> order(total);
  std::iota(order.begin(), order.end(), 0u);
  for (std::size_t i = total; i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  std::size_t begun = 0;
  for (;;) {
    while (begun < total && blocks_.size() < wanted_blocks_) start_block(order[begun++]);
    if (blocks_.empty()) break;
    more_blocks_ = begun < total;
    if (ready_.empty()) {
      error_ = kDeadlock;
      tell_of_threads_ = true;
      break;
    }
    return_to_main_ = false;
    go_on(main_, false);
    if (!error_.empty() || !retire_blocks()) break;
  }
  if (!error_.empty()) error_ += " (seed " + std::to_string(seed_) + ")";
  if (tell_of_threads_) error_ += ":\n" + describe_threads(blocks_);
  abandon_blocks();
  current_thread = nullptr;
  acquire(&end_sync_);
  return error_;
}

}  // namespace lora_emu
