// SPDX-License-Identifier: MIT
#include <lora/threads.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "support/tensors.hpp"

using namespace lora_test;
using lora::detail::parallel_for;

TEST_CASE("parallel_for covers every element once", "[threads]") {
  const ThreadCountGuard guard;
  for (const int threads : {1, 2, 3, 7}) {
    lora::set_num_threads(threads);
    CHECK(lora::get_num_threads() == threads);
    for (const std::int64_t count : {0, 1, 5, 8, 100, 1001}) {
      INFO(threads << " threads, " << count << " elements");
      std::vector<int> hits(static_cast<std::size_t>(count));
      parallel_for(count, 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
      });
      CHECK(std::count(hits.begin(), hits.end(), 1) == count);
    }
  }
}

TEST_CASE("parallel_for begins ranges at multiples of the grain", "[threads]") {
  const ThreadCountGuard guard;
  lora::set_num_threads(3);
  std::atomic<int> misplaced{0};
  parallel_for(1000, 32, [&](std::int64_t begin, std::int64_t) { misplaced += begin % 32 != 0; });
  CHECK(misplaced == 0);
}

TEST_CASE("parallel_for: whether a thread begins its part or it is taken back", "[threads]") {
  const ThreadCountGuard guard;
  for (const int threads : {2, 3, 33}) {
    lora::set_num_threads(threads);
    std::vector<int> hits(64);
    for (int loop = 1; loop <= 300; ++loop) {
      parallel_for(64, 1, [&](std::int64_t begin, std::int64_t end) {
        // Loops of all lengths, from some that no thread can wake up for.
        if (loop % 3 > 0) std::this_thread::sleep_for(std::chrono::microseconds(loop % 3));
        for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
      });
      if (std::count(hits.begin(), hits.end(), loop) == 64) continue;
      FAIL(threads << " threads, loop " << loop);
    }
  }
}

TEST_CASE("parallel_for may be called from several threads and from within itself", "[threads]") {
  const ThreadCountGuard guard;
  lora::set_num_threads(2);
  std::atomic<std::int64_t> sum{0};
  const auto add = [&] {
    for (int i = 0; i < 100; ++i) {
      parallel_for(64, 8, [&](std::int64_t begin, std::int64_t end) {
        parallel_for(end - begin, 1, [&](std::int64_t a, std::int64_t b) { sum += b - a; });
      });
    }
  };
  {
    const std::jthread other(add);
    add();
  }
  CHECK(sum == 2 * 100 * 64);
}

TEST_CASE("set_num_threads refuses less than one", "[threads][errors]") {
  CHECK_THROWS_WITH(lora::set_num_threads(0), contains("0 threads asked for"));
}
