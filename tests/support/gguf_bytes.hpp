// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/crafted_file.hpp"

// GGUF files piece by piece, right or wrong. Independent of the library's writer.
namespace lora_test::gguf {

enum Value : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};
enum Type : std::uint32_t { kF32 = 0, kQ4_0 = 2, kQ8_0 = 8, kI8 = 24, kF64 = 28 };

inline std::string u32(std::uint32_t value) { return number_bytes(value); }
inline std::string u64(std::uint64_t value) { return number_bytes(value); }
inline std::string text(const std::string& value) { return u64(value.size()) + value; }

inline std::string header(std::uint64_t tensors, std::uint64_t pairs, std::uint32_t version = 3) {
  return "GGUF" + u32(version) + u64(tensors) + u64(pairs);
}

inline std::string pair(const std::string& key, std::uint32_t type, const std::string& value) {
  return text(key) + u32(type) + value;
}

inline std::string array(std::uint32_t type, std::uint64_t count, const std::string& elements) {
  return u32(type) + u64(count) + elements;
}

/// Sizes innermost first, as they stand in the file.
inline std::string tensor(const std::string& name, const std::vector<std::uint64_t>& sizes,
                          std::uint32_t type, std::uint64_t offset) {
  std::string info = text(name) + u32(static_cast<std::uint32_t>(sizes.size()));
  for (const std::uint64_t size : sizes) info += u64(size);
  return info + u32(type) + u64(offset);
}

inline std::string padded(std::string bytes, std::size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  return bytes;
}

/// A file of one tensor without metadata.
inline std::string one_tensor(const std::string& info, std::size_t data_bytes) {
  return padded(header(1, 0) + info) + std::string(data_bytes, '\1');
}

/// A file of one metadata entry without tensors.
inline std::string one_pair(const std::string& entry) { return padded(header(0, 1) + entry); }

}  // namespace lora_test::gguf
