// SPDX-License-Identifier: MIT
#pragma once

// One fiber for each CUDA thread, one host thread for all of them. A thread runs until it has to
// wait; then any thread that can run may be the next, by the seed.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <lora_emu/launch.hpp>
#include <lora_emu/thread.hpp>

#include "fiber.hpp"
#include "random.hpp"
#include "shared_arena.hpp"

namespace lora_emu {

struct Block;

enum class State : unsigned char {
  kReady,
  kBlockBarrier,
  kNamedBarrier,
  kWarp,
  kMemoryBarrier,
  kDone
};

/// A copy that cp.async has begun: its bytes land when the thread waits for them.
struct AsyncCopy {
  char* to;
  const char* from;
  unsigned bytes;
  unsigned source_bytes;
  Location where;
};

// Wrapped, so that no instrumented program has containers of the same types as the runtime.
struct AtomicAddress {
  const void* value;
};
/// What a thread saw at a flag when it looked last.
struct Look {
  const void* flag;
  std::uint32_t value;
  bool news;
};
struct CopyGroup {
  std::size_t copies;
};

struct Thread : ThreadView {
  Block* block = nullptr;
  Fiber* fiber = nullptr;
  unsigned linear = 0;
  State state = State::kReady;
  bool spins = false;
  /// Has fenced, so that its atomics publish what it wrote.
  bool fenced = false;
  /// The barrier or the mask of what it waits for, with a name for it.
  unsigned detail = 0;
  const char* waits_for = "";
  Location where;
  /// What an mbarrier lacked when the thread began to wait.
  unsigned pending_arrivals = 0;
  long long pending_bytes = 0;
  unsigned atomics = 0;
  std::vector<AtomicAddress> atomic_addresses;
  std::vector<Look> looks;
  std::vector<AsyncCopy> copies;
  /// The committed groups, the oldest first.
  std::vector<CopyGroup> copy_groups;
  std::size_t uncommitted = 0;
};

struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  unsigned generation = 0;
  unsigned votes = 0;
  unsigned votes_of_generation[2] = {};
  Location where;
  std::vector<Thread*> waiting;
  /// Two objects in turn: with one, a thread that wakes late would also acquire what others
  /// released for the next meeting, and a race between the two would stay hidden.
  char sync[2] = {};
};

/// Lanes that wait for the others of their mask; mask 0: not in use.
struct Meeting {
  unsigned mask = 0;
  unsigned arrived = 0;
  const char* name = "";
  Location where;
  unsigned sync = 0;
  void* lanes[32] = {};
};

struct Warp {
  unsigned existing = 0;
  unsigned exited = 0;
  unsigned meetings_begun = 0;
  std::vector<Meeting> meetings;
  char sync[8] = {};
};

/// An mbarrier: its 8 bytes in shared memory stay poisoned, since a program may not look at them.
struct MemoryBarrier {
  unsigned expected = 0;
  unsigned pending = 0;
  unsigned phase = 0;
  long long transaction_bytes = 0;
  std::vector<AsyncCopy> copies;
  std::vector<Thread*> waiting;
  char sync[2] = {};
};

inline constexpr int kNamedBarriers = 16;

struct Block {
  std::vector<Thread> threads;
  unsigned alive = 0;
  unsigned exited = 0;
  std::vector<Warp> warps;
  Barrier barriers[kNamedBarriers];
  std::map<const void*, MemoryBarrier> memory_barriers;
  SharedArena shared;
  /// Fibers that may not serve another thread of this block.
  std::vector<Fiber*> used_fibers;
  char start_sync = 0;
};

class Scheduler {
 public:
  /// Runs all blocks. An empty text: all went well.
  std::string run(const Launch& launch, std::uint64_t seed, int resident_blocks, int capacity);

  /// Lets others run until this thread is ready again.
  void suspend();
  void make_ready(Thread& thread) {
    thread.state = State::kReady;
    ready_.push_back(&thread);
  }
  /// Something happened that no thread can wait for in vain.
  void note_progress() { idle_yields_ = 0; }
  void yield_now(bool progressed);

  /// Ends the launch, from a thread. The text is copied: nobody comes back to the thread's stack
  /// to free one. `tell_of_threads` adds what each thread was doing.
  [[noreturn]] void fail(const char* text, bool tell_of_threads = false);
  [[noreturn]] void run_threads_of_fiber();

 private:
  Thread& pick();
  void go_on(Fiber& from, bool leaving_for_good);
  void start_block(std::uint64_t linear_index);
  void finish_thread(Thread& thread);
  bool retire_blocks();
  void abandon_blocks();

  const Launch* launch_ = nullptr;
  std::uint64_t seed_ = 0;
  Random random_;
  Fiber main_;
  FiberPool pool_;
  std::vector<Thread*> ready_;
  std::vector<std::unique_ptr<Block>> free_blocks_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::size_t wanted_blocks_ = 1;
  std::size_t capacity_ = 1;
  bool more_blocks_ = false;
  bool return_to_main_ = false;
  std::uint64_t idle_yields_ = 0;
  std::string error_;
  bool tell_of_threads_ = false;
  char end_sync_ = 0;
};

Scheduler& scheduler();

inline Thread& self() { return *static_cast<Thread*>(current_thread); }

/// Ends the launch with this text and the position. Only for threads of a kernel.
[[noreturn, gnu::format(printf, 2, 3)]] void fail(Location where, const char* format, ...);

/// "file.cu:12", without the folders.
std::string position(const Location& where);
std::string index_text(const uint3& index);
/// What all threads of the blocks are doing, those that do the same in one line.
std::string describe_threads(const std::vector<std::unique_ptr<Block>>& blocks);

}  // namespace lora_emu
