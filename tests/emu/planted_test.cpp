// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include <lora_emu/control.hpp>

#include "child_process.hpp"
#include "device_buffer.hpp"
#include "planted_kernels.hpp"
#include "support/catch.hpp"

using namespace lora_emu_test;
using lora::cuda::launch;
using lora_emu::Sanitizer;
using lora_emu::sanitizer;
using lora_test::contains;

// A sanitizer ends its program, or makes it fail at its end. So what it must catch runs in a child:
// this program once more, with one of the hidden test cases.

namespace {

std::string at(const std::string& comment) {
  return "planted_kernels.cu:" +
         std::to_string(line_of(std::string(EMU_TEST_DIRECTORY) + "/planted_kernels.cu", comment));
}

template <class... Params, class... Args>
std::string report_of(void (*kernel)(Params...), unsigned threads, Args... args) {
  CHECK(launch(kernel, {.grid = 1, .block = threads}, args...) == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetErrorString(cudaErrorLaunchFailure) == lora_emu::last_report());
  return lora_emu::last_report();
}

/// Runs a hidden test case of this program, which has to fail, and returns what it wrote.
std::string output_of_failing_child(const std::string& name) {
  const ChildResult child = run_this_program(name);
  INFO(child.output);
  CHECK(child.failed);
  return child.output;
}

constexpr std::size_t kThreads = 64;

std::vector<int> reversed_through_shared_memory() {
  std::vector<int> x(kThreads);
  std::iota(x.begin(), x.end(), 0);
  DeviceBuffer<int> in(x), out(x.size());
  CHECK(launch(missing_barrier, {.grid = 1, .block = kThreads}, in.get(), out.get()) ==
        cudaSuccess);
  return out.values();
}

}  // namespace

TEST_CASE("planted: missing barrier", "[.planted]") { reversed_through_shared_memory(); }

TEST_CASE("a missing barrier gives wrong results, and a race in TSan", "[emu][planted]") {
  if (sanitizer() == Sanitizer::kThread) {
    const std::string output = output_of_failing_child("planted: missing barrier");
    CHECK_THAT(output, contains("data race"));
    CHECK_THAT(output, contains(at("missing barrier: write")));
    CHECK_THAT(output, contains(at("missing barrier: read")));
    return;
  }
  const std::vector<int> y = reversed_through_shared_memory();
  int wrong = 0;
  for (std::size_t i = 0; i < kThreads; ++i) wrong += y[i] != static_cast<int>(kThreads - 1 - i);
  CHECK(wrong > 10);
}

TEST_CASE("planted: race", "[.planted]") {
  DeviceBuffer<int> out(kThreads);
  CHECK(launch(race_in_shared_memory, {.grid = 1, .block = kThreads}, out.get()) == cudaSuccess);
}

TEST_CASE("planted: race between blocks", "[.planted]") {
  DeviceBuffer<float> out(kThreads);
  CHECK(launch(race_between_blocks, {.grid = 2, .block = kThreads}, out.get()) == cudaSuccess);
}

TEST_CASE("planted: shuffle for a barrier", "[.planted]") {
  DeviceBuffer<int> out(32);
  CHECK(launch(shuffle_for_a_barrier, {.grid = 1, .block = 32}, out.get()) == cudaSuccess);
}

TEST_CASE("planted: read without a barrier", "[.planted]") {
  DeviceBuffer<float> in(std::vector<float>(128, 1.0f)), out(32);
  CHECK(launch(read_without_a_barrier, {.grid = 1, .block = 32}, in.get(), out.get()) ==
        cudaSuccess);
}

TEST_CASE("races are reported with both lines", "[emu][planted]") {
  if (sanitizer() != Sanitizer::kThread) return;
  const std::string race = output_of_failing_child("planted: race");
  CHECK_THAT(race, contains(at("race: one")));
  CHECK_THAT(race, contains(at("race: other")));
  CHECK_THAT(output_of_failing_child("planted: race between blocks"),
             contains(at("race between blocks")));
  const std::string shuffle = output_of_failing_child("planted: shuffle for a barrier");
  CHECK_THAT(shuffle, contains(at("shuffle for a barrier: write")));
  CHECK_THAT(shuffle, contains(at("shuffle for a barrier: read")));
  const std::string copy = output_of_failing_child("planted: read without a barrier");
  CHECK_THAT(copy, contains(at("without a barrier: copy")));
  CHECK_THAT(copy, contains(at("without a barrier: read")));
}

TEST_CASE("planted: past global memory", "[.planted]") {
  DeviceBuffer<float> out(30);
  CHECK(launch(write_past_global_memory, {.grid = 1, .block = 32}, out.get(), 30) == cudaSuccess);
}

TEST_CASE("planted: past shared memory", "[.planted]") {
  DeviceBuffer<float> out(8);
  CHECK(launch(write_past_shared_memory, {.grid = 1, .block = 8}, out.get(), 1) == cudaSuccess);
}

TEST_CASE("writes out of bounds are caught", "[emu][planted]") {
  if (sanitizer() == Sanitizer::kAddress) {
    const std::string global = output_of_failing_child("planted: past global memory");
    CHECK_THAT(global, contains("heap-buffer-overflow"));
    CHECK_THAT(global, contains(at("past global memory")));
    const std::string shared = output_of_failing_child("planted: past shared memory");
    CHECK_THAT(shared, contains("use-after-poison"));
    CHECK_THAT(shared, contains(at("past shared memory")));
  } else {
    DeviceBuffer<float> out(30);
    CHECK_THAT(report_of(write_past_global_memory, 32, out.get(), 30),
               contains("byte 120 of a block of 120"));
    CHECK_THAT(report_of(write_past_shared_memory, 8, out.get(), 1),
               contains("after the 32 bytes of 'values'"));
  }
}

TEST_CASE("an output that was not written is NaN", "[emu][planted]") {
  DeviceBuffer<float> out(32);
  CHECK(launch(forget_the_last, {.grid = 1, .block = 32}, out.get(), 32) == cudaSuccess);
  const std::vector<float> y = out.values();
  CHECK(y[30] == 1.0f);
  CHECK(std::isnan(y[31]));
}

TEST_CASE("lanes outside of the mask", "[emu][planted]") {
  DeviceBuffer<int> out(32);
  const std::string outside = report_of(shuffle_from_outside_the_mask, 32, out.get());
  CHECK_THAT(outside, contains("reads a lane that is not in it"));
  CHECK_THAT(outside, contains(at("outside the mask")));
  const std::string exited = report_of(shuffle_with_exited_lanes, 32, out.get());
  CHECK_THAT(exited, contains("left the kernel"));
  CHECK_THAT(exited, contains(at("exited lanes")));
  const std::string missing = report_of(shuffle_with_exited_lanes, 16, out.get());
  CHECK_THAT(missing, contains("in a warp whose lanes are 0000ffff"));
  CHECK_THAT(missing, contains(at("exited lanes")));
  const std::string own = report_of(shuffle_without_own_lane, 32, out.get());
  CHECK_THAT(own, contains("with mask 0000ffff from lane"));
  CHECK_THAT(own, contains(at("own lane")));
}

TEST_CASE("lanes at different operations", "[emu][planted]") {
  DeviceBuffer<int> out(32);
  const std::string report = report_of(different_warp_operations, 32, out.get());
  CHECK_THAT(report, contains("__shfl_sync"));
  CHECK_THAT(report, contains("__any_sync"));
  CHECK_THAT(report, contains("while lanes"));
}

TEST_CASE("a barrier that not all of the block reach", "[emu][planted]") {
  DeviceBuffer<int> out(64);
  const std::string branch = report_of(barrier_in_one_branch, 64, out.get());
  CHECK_THAT(branch, contains("deadlock"));
  CHECK_THAT(branch, contains("seed " + std::to_string(lora_emu::seed())));
  CHECK_THAT(branch, contains("32 of 64 threads, the first (0,0,0), wait at __syncthreads at " +
                              at("one branch: barrier")));
  CHECK_THAT(branch, contains("32 of 64 threads, the first (32,0,0), wait at barrier 3 at " +
                              at("one branch: other")));
  CHECK_THAT(report_of(barrier_after_an_exit, 64, out.get()), contains(at("after an exit")));
  const std::string exit = report_of(exit_before_a_barrier, 64, out.get());
  CHECK_THAT(exit, contains("left the kernel"));
  CHECK_THAT(exit, contains(at("exit before")));
  const std::string two = report_of(two_barriers, 64, out.get());
  CHECK_THAT(two, contains("while others of the block wait at another"));
  const std::string warp = report_of(barrier_against_shuffle, 64, out.get());
  CHECK_THAT(warp, contains(at("against shuffle: barrier")));
  CHECK_THAT(warp,
             contains("wait at __syncwarp with mask ffffffff at " + at("against shuffle: warp")));
  CHECK_THAT(report_of(short_named_barrier, 64), contains(at("short named barrier")));
}

TEST_CASE("a flag that nobody sets", "[emu][planted]") {
  DeviceBuffer<std::uint32_t> flag(std::vector<std::uint32_t>(1, 0));
  const std::string report = report_of(endless_wait, 32, flag.get());
  CHECK_THAT(report, contains("deadlock"));
  CHECK_THAT(report, contains("spin at " + at("endless")));
}

TEST_CASE("planted: read before the wait", "[.planted]") {
  DeviceBuffer<float> in(std::vector<float>(128, 1.0f)), out(32);
  CHECK(launch(read_before_the_wait, {.grid = 1, .block = 32}, in.get(), out.get()) == cudaSuccess);
  for (const float v : out.values()) CHECK(v == 1.0f);
}

TEST_CASE("asynchronous copies that are not waited for", "[emu][planted]") {
  const std::string early = output_of_failing_child("planted: read before the wait");
  if (sanitizer() == Sanitizer::kAddress) {
    CHECK_THAT(early, contains("use-after-poison"));
    CHECK_THAT(early, contains(at("before the wait")));
  } else {
    CHECK_THAT(early, contains("nanf == 1.0f"));
  }
  DeviceBuffer<float> in(std::vector<float>(128, 1.0f)), out(32);
  const std::string exit = report_of(exit_with_a_copy, 32, in.get());
  CHECK_THAT(exit, contains("not waited for"));
  CHECK_THAT(exit, contains(at("with a copy")));
  CHECK(launch(overwrite_the_source, {.grid = 1, .block = 32}, in.get(), out.get()) == cudaSuccess);
  for (const float v : out.values()) CHECK(v == -1.0f);
}

TEST_CASE("planted: refill too early", "[.planted]") {
  DeviceBuffer<float> in(std::vector<float>(256 * 6, 1.0f)), out(64);
  CHECK(launch(refill_too_early, {.grid = 1, .block = 64}, in.get(), out.get(), 6) == cudaSuccess);
  for (const float v : out.values()) CHECK(v == 5.0f);
}

TEST_CASE("planted: refill stage too early", "[.planted]") {
  DeviceBuffer<float> in(std::vector<float>(128, 1.0f)), out(64);
  CHECK(launch(refill_stage_too_early, {.grid = 1, .block = 64}, in.get(), out.get()) ==
        cudaSuccess);
  for (const float v : out.values()) CHECK(v == 2.0f);
}

TEST_CASE("a buffer that is filled again while others read it", "[emu][planted]") {
  const std::string copies = output_of_failing_child("planted: refill too early");
  const std::string stage = output_of_failing_child("planted: refill stage too early");
  if (sanitizer() == Sanitizer::kThread) {
    CHECK_THAT(copies, contains(at("too early: copy")));
    CHECK_THAT(copies, contains(at("too early: read")));
    CHECK_THAT(stage, contains(at("stage too early: copy")));
    CHECK_THAT(stage, contains(at("stage too early: read")));
  } else if (sanitizer() == Sanitizer::kAddress) {
    CHECK_THAT(copies, contains(at("too early: read")));
    CHECK_THAT(stage, contains(at("stage too early: read")));
  } else {
    CHECK_THAT(copies, contains("nanf == 5.0f"));
    CHECK_THAT(stage, contains("nanf == 2.0f"));
  }
}

TEST_CASE("bytes that an mbarrier does not expect", "[emu][planted]") {
  DeviceBuffer<float> in(std::vector<float>(16, 1.0f));
  const std::string few = report_of(too_few_bytes, 32, in.get());
  CHECK_THAT(few, contains("deadlock"));
  CHECK_THAT(few, contains("an mbarrier at " + at("too few") +
                           ", where at first 0 arrivals and 16 bytes were missing"));
  const std::string many = report_of(too_many_bytes, 32, in.get());
  CHECK_THAT(many, contains("16 bytes more than the mbarrier expects"));
  CHECK_THAT(many, contains(at("too many")));
}

TEST_CASE("arrivals and copies that nobody waits for", "[emu][planted]") {
  CHECK_THAT(report_of(arrive_for_nobody, 64),
             contains(at("for nobody: arrival") + ": 32 of 64 threads arrived at barrier 5"));
  DeviceBuffer<float> in(std::vector<float>(16, 1.0f));
  CHECK_THAT(report_of(copy_for_nobody, 32, in.get()),
             contains(at("for nobody: copy") + ": a bulk copy that nobody waited for"));
}

TEST_CASE("a trap ends the launch", "[emu][planted]") {
  std::vector<int> x(32, 0);
  DeviceBuffer<int> in(x);
  CHECK(launch(reach_a_trap, {.grid = 1, .block = 32}, in.get()) == cudaSuccess);
  x[20] = 7;
  REQUIRE(cudaMemcpy(in.get(), x.data(), 128, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK_THAT(report_of(reach_a_trap, 32, in.get()),
             contains(at("trap") + ": __trap, by thread (20,0,0) of block (0,0,0)"));
}

TEST_CASE("planted: misaligned load", "[.planted]") {
  DeviceBuffer<float> in(std::vector<float>(128, 1.0f)), out(32);
  CHECK(launch(misaligned_load, {.grid = 1, .block = 32}, in.get(), out.get()) == cudaSuccess);
}

TEST_CASE("a misaligned load is caught by UBSan", "[emu][planted]") {
  if (sanitizer() != Sanitizer::kAddress) return;
  const std::string output = output_of_failing_child("planted: misaligned load");
  CHECK_THAT(output, contains("misaligned address"));
  CHECK_THAT(output, contains(at("misaligned")));
}
