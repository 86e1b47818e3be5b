// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <lora/detail/function_ref.hpp>

namespace lora::inline v0::detail {

/// Runs a loop's iterations [begin, end).
using LoopBody = FunctionRef<void(std::int64_t begin, std::int64_t end)>;

/// A few threads that wait for loops to share. Between the loops of a training step they spin for
/// some microseconds, because the next loop follows at once; then they sleep. What a thread has not
/// begun when the calling thread is done with its own part, the calling thread takes back: a loop
/// does not wait for a thread that has no processor.
class ThreadPool {
 public:
  static ThreadPool& instance() {
    static ThreadPool pool;
    return pool;
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  ~ThreadPool() { stop(); }

  int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// From now on loops use `count` threads, the calling one among them.
  void resize(int count) {
    while (busy_.test_and_set(std::memory_order_acquire)) busy_.wait(true);
    const Claim claim{busy_, true};
    if (count == size()) return;
    stop();
    start(count);
  }

  /// Calls body(begin, end) on ranges that together are [0, count). Every range but the last is a
  /// multiple of `grain` long, and none is shorter unless the loop is. Where the pool is in use, by
  /// another thread or by a loop around this one, the whole loop runs in this thread.
  void parallel_for(std::int64_t count, std::int64_t grain, LoopBody body) {
    if (count <= 0) return;
    const Claim claim{busy_, !busy_.test_and_set(std::memory_order_acquire)};
    const std::int64_t grains = (count + grain - 1) / grain;
    const std::int64_t parts = claim.owns ? std::min<std::int64_t>(size(), grains) : 1;
    if (parts == 1) return body(std::int64_t{0}, count);

    const Loop loop{count, grain, grains, parts, body};
    loop_ = &loop;
    pending_.store(static_cast<int>(parts) - 1, std::memory_order_relaxed);
    for (int part = 1; part < parts; ++part) worker(part).give(kPart);
    loop.run(0);
    for (int part = static_cast<int>(parts) - 1; part > 0; --part) {
      if (worker(part).take() != kPart) continue;
      loop.run(part);
      pending_.fetch_sub(1, std::memory_order_relaxed);
    }
    wait_until([this] { return pending_.load(std::memory_order_acquire) == 0; }, pending_);
  }

 private:
  // Not a mutex: a thread may not try to lock one that it holds, as a loop within a loop would.
  struct Claim {
    std::atomic_flag& busy;
    bool owns;

    ~Claim() {
      if (!owns) return;
      busy.clear(std::memory_order_release);
      busy.notify_one();
    }
  };

  struct Loop {
    std::int64_t count, grain, grains, parts;
    LoopBody body;

    void run(std::int64_t part) const {
      const std::int64_t begin = grains * part / parts * grain;
      const std::int64_t end = std::min(count, grains * (part + 1) / parts * grain);
      body(begin, end);
    }
  };

  enum Work : int { kNothing, kPart, kStop };

  // A thread, and what there is for it to do, on a cache line of its own.
  struct alignas(64) Worker {
    std::atomic<int> work{kNothing};
    std::thread thread;

    void give(Work what) {
      work.store(what, std::memory_order_release);
      work.notify_one();
    }

    /// Whoever takes it has it to do.
    int take() { return work.exchange(kNothing, std::memory_order_acq_rel); }
  };

  ThreadPool() { start(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))); }

  Worker& worker(int part) { return *workers_[static_cast<std::size_t>(part) - 1]; }

  void start(int count) {
    workers_.reserve(static_cast<std::size_t>(count));
    for (int part = 1; part < count; ++part) {
      auto worker = std::make_unique<Worker>();
      worker->thread = std::thread([this, part, self = worker.get()] { work(part, *self); });
      workers_.push_back(std::move(worker));
    }
  }

  void stop() {
    for (const auto& worker : workers_) worker->give(kStop);
    for (const auto& worker : workers_) worker->thread.join();
    workers_.clear();
  }

  void work(int part, Worker& self) {
    for (;;) {
      wait_until([&] { return self.work.load(std::memory_order_acquire) != kNothing; }, self.work);
      const int what = self.take();
      if (what == kStop) return;
      if (what != kPart) continue;
      loop_->run(part);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  // Spins for about as long as waking a sleeping thread takes, then sleeps until `word` changes.
  template <class Ready>
  static void wait_until(Ready ready, const std::atomic<int>& word) {
    for (int spin = 0; spin < 2000; ++spin) {
      if (ready()) return;
      pause();
    }
    while (true) {
      const int value = word.load(std::memory_order_acquire);
      if (ready()) return;
      word.wait(value, std::memory_order_acquire);
    }
  }

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  std::atomic_flag busy_;
  std::vector<std::unique_ptr<Worker>> workers_;
  const Loop* loop_ = nullptr;
  std::atomic<int> pending_{0};  // parts given away and not done
};

/// As ThreadPool::parallel_for, on the pool that all ops share.
inline void parallel_for(std::int64_t count, std::int64_t grain, LoopBody body) {
  ThreadPool::instance().parallel_for(count, grain, body);
}

}  // namespace lora::inline v0::detail
