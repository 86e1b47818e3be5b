// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <lora_emu/shared_memory.hpp>

namespace lora_emu {

/// The shared memory of one block. Bytes are 0xFF, NaN as floats, until written; around each
/// array lies a red zone of the same bytes, which is checked when the block ends.
class SharedArena {
 public:
  SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;

  void begin_block(std::size_t dynamic_bytes);
  void* find(const SharedSlot& slot);
  void* dynamic() { return dynamic_; }
  std::size_t static_bytes() const { return static_bytes_; }
  bool contains(const void* address, std::size_t bytes) const;

  /// What was written outside of its arrays; empty if nothing was.
  std::string damage() const;

 private:
  struct Array {
    const SharedSlot* slot;
    char* begin;
    std::size_t bytes;
  };

  char* allocate(std::size_t bytes, std::size_t alignment, std::size_t offset);

  char* memory_ = nullptr;
  std::size_t used_ = 0;
  std::size_t static_bytes_ = 0;
  char* dynamic_ = nullptr;
  std::vector<Array> arrays_;
};

}  // namespace lora_emu
