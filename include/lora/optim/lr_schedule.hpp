// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>

#include <lora/error.hpp>

// What the learning rate is multiplied with at each step, as the schedules of the same names in
// Hugging Face's transformers have it. A step counts from 0, which is the factor of the first
// update: with a warm-up that is 0.
//
//     const CosineSchedule schedule({.num_warmup_steps = 100, .num_training_steps = 2000});
//     for (std::int64_t step = 0; step < 2000; ++step) {
//       ...
//       adam.options.lr = 1e-4 * schedule(step);
//       adam.step();
//     }

namespace lora::inline v0 {

struct ScheduleSteps {
  std::int64_t num_warmup_steps = 0;    ///< in which the factor grows from 0 to 1
  std::int64_t num_training_steps = 0;  ///< in all, the warm-up among them
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// What schedules share: their steps, checked, and the warm-up.
class WarmupSchedule {
 protected:
  explicit WarmupSchedule(const ScheduleSteps& steps)
      : warmup_steps_(steps.num_warmup_steps), training_steps_(steps.num_training_steps) {
    if (warmup_steps_ < 0 || training_steps_ < std::max<std::int64_t>(warmup_steps_, 1)) {
      throw ValueError("lr_schedule: " + std::to_string(warmup_steps_) + " warm-up steps of " +
                       std::to_string(training_steps_) +
                       " training steps, expected 0 to all of 1 or more");
    }
  }

  /// Whether the step is in the warm-up, where all schedules have the factor step / warmup_steps.
  bool is_warmup(std::int64_t step) const {
    if (step < 0) {
      throw ValueError("lr_schedule: step " + std::to_string(step) + ", expected at least 0");
    }
    return step < warmup_steps_;
  }
  double warmup_factor(std::int64_t step) const { return ratio(step, warmup_steps_); }

  /// `steps` as a part of those behind the warm-up.
  double part_of_rest(std::int64_t steps) const {
    return ratio(steps, std::max<std::int64_t>(training_steps_ - warmup_steps_, 1));
  }

  std::int64_t warmup_steps_, training_steps_;

 private:
  static double ratio(std::int64_t steps, std::int64_t all) {
    return static_cast<double>(steps) / static_cast<double>(all);
  }
};

}  // namespace lora::inline v0::detail

namespace lora::inline v0 {

/// From 0 to 1 in the warm-up and then straight down to 0 at the last step, where it stays;
/// transformers' get_linear_schedule_with_warmup.
class LinearSchedule : detail::WarmupSchedule {
 public:
  /// Throws ValueError unless there are steps and 0 <= num_warmup_steps <= num_training_steps.
  explicit LinearSchedule(const ScheduleSteps& steps) : WarmupSchedule(steps) {}

  /// Throws ValueError on a step below 0.
  double operator()(std::int64_t step) const {
    if (is_warmup(step)) return warmup_factor(step);
    return std::max(0.0, part_of_rest(training_steps_ - step));
  }
};

/// From 0 to 1 in the warm-up and then along (1 + cos(2π num_cycles p)) / 2 for p from 0 to 1: with
/// half a cycle down to 0 at the end of training, behind which it would rise again; transformers'
/// get_cosine_schedule_with_warmup.
class CosineSchedule : detail::WarmupSchedule {
 public:
  /// Throws ValueError as LinearSchedule does, and unless num_cycles is finite and at least 0.
  explicit CosineSchedule(const ScheduleSteps& steps, double num_cycles = 0.5)
      : WarmupSchedule(steps), num_cycles_(num_cycles) {
    if (!(num_cycles >= 0) || std::isinf(num_cycles)) {
      throw ValueError("lr_schedule: num_cycles is " + std::to_string(num_cycles) +
                       ", expected a finite number of at least 0");
    }
  }

  /// Throws ValueError on a step below 0.
  double operator()(std::int64_t step) const {
    if (is_warmup(step)) return warmup_factor(step);
    const double angle = 2 * std::numbers::pi * num_cycles_ * part_of_rest(step - warmup_steps_);
    return std::max(0.0, 0.5 * (1 + std::cos(angle)));
  }

 private:
  double num_cycles_;
};

}  // namespace lora::inline v0
