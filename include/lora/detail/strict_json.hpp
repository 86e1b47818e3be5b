// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <lora/error.hpp>
#include <lora/io/file.hpp>

// Outside the umbrella: it needs nlohmann-json.

namespace lora::inline v0::detail {

inline constexpr std::size_t kMaxJsonSize = std::size_t{1} << 20;

/// The text of a small file. Throws FileError where it has more than 1 MiB.
inline std::string read_json_text(const std::string& path) {
  const InputFile file(path);
  if (file.size() > kMaxJsonSize) {
    throw FileError(path + ": expected at most 1 MiB of JSON, found " +
                    std::to_string(file.size()) + " bytes");
  }
  std::string text(file.size(), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// A JSON object of an untrusted file. Throws FileError, whose text `name` begins, on anything but
/// one object of at most 1 MiB in valid UTF-8, nested at most 32 deep, without a key that stands
/// twice (of which nlohmann's parser keeps the last).
inline nlohmann::json parse_json_object(std::string_view text, std::string_view name) {
  using Json = nlohmann::json;
  constexpr int kMaxDepth = 32;
  const auto fail = [&](const std::string& what) {
    throw FileError(std::string(name) + ": " + what);
  };
  if (text.size() > kMaxJsonSize) {
    fail("expected at most 1 MiB of JSON, found " + std::to_string(text.size()) + " bytes");
  }
  std::vector<std::set<std::string>> keys;  // of the objects around the place
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) fail("the JSON is nested more than 32 deep");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail("the key " + Json(key).dump() + " stands twice");
    }
    return true;
  };
  Json value;
  try {
    value = Json::parse(text, check);
  } catch (const Json::exception& error) {
    const std::string_view reason = error.what();
    const std::size_t after_number = reason.find("] ");
    fail("expected valid JSON: " +
         std::string(reason.substr(after_number == reason.npos ? 0 : after_number + 2)));
  }
  if (!value.is_object()) fail("expected a JSON object, found " + std::string(value.type_name()));
  return value;
}

}  // namespace lora::inline v0::detail
