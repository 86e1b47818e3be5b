// SPDX-License-Identifier: MIT
#include <lora/data/gz.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fuzz/memory_file.hpp"
#include "support/gzip.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

// Small, so that small inputs are bombs.
constexpr std::size_t kLimit = std::size_t{1} << 14;

std::optional<Bytes> unpack(std::span<const std::uint8_t> packed) {
  try {
    const Bytes bytes = lora::gunzip(packed, kLimit, "file");
    lora_test::require(bytes.size() <= kLimit, "no more comes out than is asked for");
    return bytes;
  } catch (const lora::FileError&) {
    return std::nullopt;
  }
}

// From a file it is what it is from memory.
void read_file(std::span<const std::uint8_t> packed) {
  if (packed.size() > kLimit) return;
  static lora_test::MemoryFile memory;
  memory.set(packed);
  const bool is_gz = packed.size() >= 2 && packed[0] == 0x1f && packed[1] == 0x8b;
  try {
    const Bytes bytes = lora::GzReader{}(memory.path(), kLimit);
    const Bytes expected =
        is_gz ? unpack(packed).value_or(Bytes{}) : Bytes(packed.begin(), packed.end());
    lora_test::require(bytes == expected, "a file gives what its bytes give");
  } catch (const lora::FileError&) {
    lora_test::require(is_gz && !unpack(packed), "a file is refused for its bytes alone");
  }
}

}  // namespace

// The input is a file; and, since hardly any change leaves the checksum right, a text to be packed
// after four bytes that say where and how what is packed is damaged: then the text or nothing comes
// out.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read_file({data, size});
  if (size < 4) return 0;
  const Bytes text(data + 4, data + size);
  Bytes packed = lora_test::gzip(text);
  lora_test::require(unpack(packed) == text, "what is packed comes out");
  packed.push_back(data[2]);
  lora_test::require(!unpack(packed), "nothing may follow");
  packed.pop_back();
  const std::size_t at = (std::size_t{data[0]} << 8 | data[1]) % packed.size();
  packed[at] = static_cast<std::uint8_t>(packed[at] ^ data[2]);
  if (data[3] % 4 == 0) packed.resize(at);
  const std::optional<Bytes> damaged = unpack(packed);
  lora_test::require(!damaged || *damaged == text, "damage is noticed");
  return 0;
}
