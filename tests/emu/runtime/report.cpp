// SPDX-License-Identifier: MIT
#include <cstdarg>
#include <cstdio>
#include <map>
#include <string_view>
#include <utility>

#include "sanitizers.hpp"
#include "scheduler.hpp"

namespace lora_emu {

namespace {

std::string activity(const Thread& thread) {
  switch (thread.state) {
    case State::kDone:
      return "left the kernel";
    case State::kReady:
      return thread.spins ? "spin at " + position(thread.where) : "can run";
    case State::kNamedBarrier:
      return "wait at barrier " + std::to_string(thread.detail) + " at " + position(thread.where);
    case State::kWarp: {
      char mask[16];
      std::snprintf(mask, sizeof mask, "%08x", thread.detail);
      return std::string("wait at ") + thread.waits_for + " with mask " + mask + " at " +
             position(thread.where);
    }
    case State::kMemoryBarrier:
      return "wait at an mbarrier at " + position(thread.where) + ", where at first " +
             std::to_string(thread.pending_arrivals) + " arrivals and " +
             std::to_string(thread.pending_bytes) + " bytes were missing";
    default:
      return std::string("wait at ") + thread.waits_for + " at " + position(thread.where);
  }
}

}  // namespace

std::string position(const Location& where) {
  const std::string file = where.file_name();
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(where.line());
}

std::string index_text(const uint3& index) {
  return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," +
         std::to_string(index.z) + ")";
}

std::string describe_threads(const std::vector<std::unique_ptr<Block>>& blocks) {
  std::string text;
  for (const auto& block : blocks) {
    std::map<std::string, std::pair<std::size_t, const Thread*>> groups;
    for (const Thread& thread : block->threads) {
      auto& [count, first] = groups[activity(thread)];
      if (count++ == 0) first = &thread;
    }
    text += "  block " + index_text(block->threads[0].block_index) + ":\n";
    for (const auto& [what, group] : groups) {
      text += "    " + std::to_string(group.first) + " of " +
              std::to_string(block->threads.size()) + " threads, the first " +
              index_text(group.second->thread_index) + ", " + what + "\n";
    }
  }
  return text;
}

void fail(Location where, const char* format, ...) {
  // A fixed buffer, because nobody comes back to this stack to free another.
  char text[768];
  {
    const Unobserved unobserved;
    int length = 0;
    if (where.line() != 0) {
      const std::string_view path = where.file_name();
      const char* const file = path.data() + path.find_last_of('/') + 1;
      length = std::snprintf(text, 256, "%s:%u: ", file, static_cast<unsigned>(where.line()));
    }
    va_list arguments;
    va_start(arguments, format);
    length += std::vsnprintf(text + length, 384, format, arguments);
    va_end(arguments);
    const uint3 thread = current_thread->thread_index;
    const uint3 block = current_thread->block_index;
    std::snprintf(text + length, 96, ", by thread (%u,%u,%u) of block (%u,%u,%u)", thread.x,
                  thread.y, thread.z, block.x, block.y, block.z);
  }
  scheduler().fail(text);
}

}  // namespace lora_emu
