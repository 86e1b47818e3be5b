// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/detail/thread_pool.hpp>
#include <lora/error.hpp>

namespace lora::inline v0 {

/// How many threads the CPU ops use; at first, one for each processor. No result depends on it.
inline int get_num_threads() { return detail::ThreadPool::instance().size(); }

/// Throws ValueError when `count` is below 1.
inline void set_num_threads(int count) {
  if (count < 1) {
    throw ValueError("set_num_threads: " + std::to_string(count) +
                     " threads asked for, at least 1");
  }
  detail::ThreadPool::instance().resize(count);
}

}  // namespace lora::inline v0
