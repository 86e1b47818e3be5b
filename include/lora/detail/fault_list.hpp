// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace lora::inline v0::detail {

/// What is wrong with a file, for one sentence: all of it, or the first twenty and how many more.
class FaultList {
 public:
  void add(const std::string& what) {
    if (count_++ < kMost) text_ += (text_.empty() ? "" : "; ") + what;
  }

  bool empty() const noexcept { return count_ == 0; }

  std::string text() const {
    return count_ <= kMost ? text_ : text_ + "; and " + std::to_string(count_ - kMost) + " more";
  }

 private:
  static constexpr int kMost = 20;
  int count_ = 0;
  std::string text_;
};

}  // namespace lora::inline v0::detail
