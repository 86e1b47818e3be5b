// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace lora_test {

/// A file that a parser has to refuse, or has to take although it is odd. Large ones are made when
/// they are asked for.
struct CraftedFile {
  CraftedFile(std::string name, std::string content)
      : name(std::move(name)), content([content = std::move(content)] { return content; }) {}
  CraftedFile(std::string name, std::function<std::string()> content)
      : name(std::move(name)), content(std::move(content)) {}

  std::string name;
  std::function<std::string()> content;
};

using CraftedFiles = std::vector<CraftedFile>;

/// The bytes of a number, little-endian.
template <class T>
std::string number_bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

/// `count` texts one after the other.
template <class Text>
std::string repeated(std::size_t count, const Text& text) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text(i);
  return all;
}

}  // namespace lora_test
