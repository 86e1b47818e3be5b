// SPDX-License-Identifier: MIT
#include <lora/staging.hpp>

#include <string>
#include <utility>
#include <vector>

#include "support/host_backend.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::Device;

namespace {

/// What a ring has asked of the device, events counted from 0 in the order they are met.
struct Log {
  std::vector<std::string> calls;
  std::vector<void*> events;

  void note(const char* call, void* event) {
    std::size_t i = 0;
    while (i < events.size() && events[i] != event) ++i;
    if (i == events.size()) events.push_back(event);
    calls.push_back(call + std::to_string(i));
  }
  std::vector<std::string> take() { return std::exchange(calls, {}); }
};

Log& log() {
  static Log instance;
  return instance;
}

using Calls = std::vector<std::string>;

void log_calls(lora::detail::Backend& table) {
  log() = {};
  table.record_event = [](void* event, void*) {
    log().note("record ", event);
    return 0;
  };
  table.synchronize_event = [](void* event) {
    log().note("synchronize ", event);
    return 0;
  };
  table.wait_event = [](void*, void* event) {
    log().note("wait ", event);
    return 0;
  };
}

void fill(std::span<float> slot, float first) {
  for (float& element : slot) element = first++;
}

}  // namespace

TEST_CASE("a ring fills tensors from its slots in turn", "[staging]") {
  const HostBackend device;
  Tensor<float> x({2, 2}, Device::cuda), y({1}, Device::cuda), empty({0}, Device::cuda);
  {
    lora::StagingRing<float> ring(4, 3);
    CHECK(ring.elements() == 4);
    CHECK(ring.slots() == 3);
    std::vector<float*> slots;
    for (int i = 0; i < 4; ++i) {
      const std::span<float> slot = ring.next();
      REQUIRE(slot.size() == 4);
      slots.push_back(slot.data());
      fill(slot, static_cast<float>(10 * i));
      ring.upload(x);
      ring.upload(slot.subspan(3, 1), y);
      ring.upload(empty);
      const auto first = static_cast<float>(10 * i);
      CHECK(same_bits(x.to(Device::cpu),
                      Tensor<float>({2, 2}, {first, first + 1, first + 2, first + 3})));
      CHECK(y.to(Device::cpu)[0] == first + 3);
    }
    CHECK(slots[0] != slots[1]);
    CHECK(slots[1] != slots[2]);
    CHECK(slots[2] != slots[0]);
    CHECK(slots[3] == slots[0]);
  }
  CHECK(HostBackend::events() == 0);
}

TEST_CASE("a ring waits for a slot's uploads before it hands the slot out again", "[staging]") {
  HostBackend device;
  log_calls(device.table());
  Tensor<float> x({4}, Device::cuda);
  {
    lora::StagingRing<float> ring(4, 2);
    ring.next();
    CHECK(log().take() == Calls{"synchronize 0"});
    ring.upload(x);
    CHECK(log().take() == Calls{"wait 0", "record 0"});
    ring.next();
    ring.upload(x);
    CHECK(log().take() == Calls{"synchronize 1", "wait 1", "record 1"});
    ring.next();
    CHECK(log().take() == Calls{"synchronize 0"});
    ring.next();  // without an upload
    CHECK(log().take() == Calls{"synchronize 1"});
  }
  CHECK(log().take() == Calls{"synchronize 0", "synchronize 1"});
}

TEST_CASE("a ring's events lie in the stream of its uploads", "[staging]") {
  HostBackend device;
  static std::vector<void*> streams;
  streams.clear();
  device.table().copy_from_pinned = [](void*, const void*, std::size_t, void* stream) {
    streams.push_back(stream);
    return 0;
  };
  device.table().record_event = [](void*, void* stream) {
    streams.push_back(stream);
    return 0;
  };
  Tensor<float> x({4}, Device::cuda);
  lora::StagingRing<float> ring(4);
  const lora::Stream stream;
  const lora::ScopedStream scope(stream);
  ring.next();
  ring.upload(x);
  CHECK(streams == std::vector<void*>{stream.handle(), stream.handle()});
}

TEST_CASE("uploads that do not fit are refused", "[staging][errors]") {
  const HostBackend device;
  lora::StagingRing<float> ring(4);
  Tensor<float> x({2}, Device::cuda), longer({5}, Device::cuda), on_host({2});
  CHECK_THROWS_AS(ring.upload(x), lora::ValueError);
  CHECK_THROWS_WITH(ring.upload(x), "StagingRing::upload: call next() and fill the slot first");
  const std::span<float> slot = ring.next();
  CHECK_THROWS_AS(ring.upload(longer), lora::ShapeError);
  CHECK_THROWS_WITH(ring.upload(longer),
                    contains("StagingRing::upload: the tensor is (5,) on cuda") && contains("4"));
  CHECK_THROWS_AS(ring.upload(slot.first(3), x), lora::ShapeError);
  const std::vector<float> elsewhere(2);
  CHECK_THROWS_WITH(ring.upload(elsewhere, x), contains("in the slot"));
  CHECK_THROWS_AS(ring.upload(on_host), lora::DeviceError);
  CHECK_THROWS_WITH(ring.upload(on_host), contains("(2,) on cpu, expected one on cuda"));
  CHECK_THROWS_AS(lora::StagingRing<float>(0), lora::ValueError);
  CHECK_THROWS_WITH(lora::StagingRing<float>(3, 0),
                    "StagingRing: 0 slots of 3 elements, expected at least 1 of each");
}

TEST_CASE("what went wrong before is thrown by next, and the slot stays", "[staging][errors]") {
  HostBackend device;
  lora::StagingRing<float> ring(4);
  const float* const slot = ring.next().data();
  const auto works = device.table().synchronize_event;
  device.table().synchronize_event = [](void*) { return 700; };
  CHECK_THROWS_WITH(ring.next(), "Event::synchronize: the launch failed");
  device.table().synchronize_event = works;
  CHECK(ring.next().data() != slot);
  CHECK(ring.next().data() == slot);
}

TEST_CASE("without a GPU a ring says why", "[staging][errors]") {
  CHECK_THROWS_AS(lora::StagingRing<float>(3), lora::DeviceError);
  CHECK_THROWS_WITH(lora::StagingRing<float>(3), contains("device cuda is not there"));
}
