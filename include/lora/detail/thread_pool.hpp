// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <lora/detail/function_ref.hpp>

namespace lora::inline v0::detail {

/// Runs a loop's iterations [begin, end).
using LoopBody = FunctionRef<void(std::int64_t begin, std::int64_t end)>;

/// A few threads that wait for loops to share. Between the loops of a training step they spin for
/// some microseconds, because the next loop follows at once; then they sleep.
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
    const std::lock_guard lock(mutex_);
    if (count == size()) return;
    stop();
    start(count);
  }

  /// Calls body(begin, end) on ranges that together are [0, count). Every range but the last is a
  /// multiple of `grain` long, and none is shorter unless the loop is. Where another thread is
  /// using the pool, the whole loop runs in this one.
  void parallel_for(std::int64_t count, std::int64_t grain, LoopBody body) {
    if (count <= 0) return;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    const std::int64_t grains = (count + grain - 1) / grain;
    const std::int64_t parts = lock.owns_lock() ? std::min<std::int64_t>(size(), grains) : 1;
    if (parts == 1) return body(std::int64_t{0}, count);

    const Loop loop{count, grain, grains, parts, body};
    loop_ = &loop;
    pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    loop.run(0);
    wait_until([this] { return pending_.load(std::memory_order_acquire) == 0; }, pending_);
  }

 private:
  struct Loop {
    std::int64_t count, grain, grains, parts;
    LoopBody body;

    void run(std::int64_t part) const {
      if (part >= parts) return;
      const std::int64_t begin = grains * part / parts * grain;
      const std::int64_t end = std::min(count, grains * (part + 1) / parts * grain);
      body(begin, end);
    }
  };

  ThreadPool() { start(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))); }

  void start(int count) {
    stopping_ = false;
    const std::uint32_t epoch = epoch_.load();
    for (int part = 1; part < count; ++part) {
      workers_.emplace_back([this, part, epoch] { work(part, epoch); });
    }
  }

  void stop() {
    stopping_ = true;
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void work(int part, std::uint32_t seen) {
    for (;;) {
      wait_until([&] { return epoch_.load(std::memory_order_acquire) != seen; }, epoch_);
      ++seen;
      if (stopping_) return;
      loop_->run(part);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  // Spins for about as long as waking a sleeping thread takes, then sleeps until `word` changes.
  template <class Ready, class Word>
  static void wait_until(Ready ready, const std::atomic<Word>& word) {
    for (int spin = 0; spin < 2000; ++spin) {
      if (ready()) return;
      pause();
    }
    while (true) {
      const Word value = word.load(std::memory_order_acquire);
      if (ready()) return;
      word.wait(value, std::memory_order_acquire);
    }
  }

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  std::mutex mutex_;
  std::vector<std::thread> workers_;
  bool stopping_ = false;
  const Loop* loop_ = nullptr;
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<int> pending_{0};
};

/// As ThreadPool::parallel_for, on the pool that all ops share.
inline void parallel_for(std::int64_t count, std::int64_t grain, LoopBody body) {
  ThreadPool::instance().parallel_for(count, grain, body);
}

}  // namespace lora::inline v0::detail
