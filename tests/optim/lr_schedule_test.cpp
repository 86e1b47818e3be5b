// SPDX-License-Identifier: MIT
#include <lora/optim/lr_schedule.hpp>

#include <cmath>
#include <string>

#include "support/golden.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::CosineSchedule;
using lora::LinearSchedule;

namespace {

template <class Schedule>
void check_factors(const Schedule& schedule, const std::string& name) {
  INFO(name);
  const Tensor<double> expected = golden("optim").read<double>(name);
  REQUIRE(expected.numel() == 41);
  for (index_t step = 0; step < expected.numel(); ++step) {
    INFO("step " << step);
    CHECK(std::fabs(schedule(step) - expected[step]) <= 1e-15);
  }
}

}  // namespace

TEST_CASE("schedules have the factors of transformers, in the end and beyond it", "[optim][lr]") {
  for (const index_t warmup : {0, 7, 30}) {
    const lora::ScheduleSteps steps{.num_warmup_steps = warmup, .num_training_steps = 30};
    const std::string suffix = "." + std::to_string(warmup);
    check_factors(LinearSchedule(steps), "linear" + suffix);
    check_factors(CosineSchedule(steps), "cosine" + suffix);
    check_factors(CosineSchedule(steps, 1.25), "cosine" + suffix + ".cycles");
  }
}

TEST_CASE("schedules know their corners", "[optim][lr]") {
  const LinearSchedule linear({.num_warmup_steps = 4, .num_training_steps = 12});
  CHECK(linear(0) == 0);
  CHECK(linear(1) == 0.25);
  CHECK(linear(4) == 1);
  CHECK(linear(8) == 0.5);
  CHECK(linear(12) == 0);
  CHECK(linear(100) == 0);
  const CosineSchedule cosine({.num_warmup_steps = 4, .num_training_steps = 12});
  CHECK(cosine(2) == 0.5);
  CHECK(cosine(4) == 1);
  CHECK(cosine(8) == approx(0.5));
  CHECK(cosine(12) == approx(0).margin(1e-16));
  CHECK(LinearSchedule({.num_training_steps = 1})(0) == 1);
}

TEST_CASE("schedules refuse what makes no sense", "[optim][lr][errors]") {
  CHECK_THROWS_AS(LinearSchedule({}), lora::ValueError);
  CHECK_THROWS_AS(LinearSchedule({.num_warmup_steps = -1, .num_training_steps = 5}),
                  lora::ValueError);
  CHECK_THROWS_WITH(CosineSchedule({.num_warmup_steps = 6, .num_training_steps = 5}),
                    "lr_schedule: 6 warm-up steps of 5 training steps, expected 0 to all of 1 or "
                    "more");
  for (const double cycles : {-0.5, double{INFINITY}, double{NAN}}) {
    INFO("cycles " << cycles);
    CHECK_THROWS_WITH(CosineSchedule({.num_training_steps = 5}, cycles),
                      contains("lr_schedule: num_cycles is"));
  }
  CHECK_THROWS_WITH(LinearSchedule({.num_training_steps = 5})(-1),
                    "lr_schedule: step -1, expected at least 0");
  CHECK_THROWS_AS(CosineSchedule({.num_training_steps = 5})(-1), lora::ValueError);
}
