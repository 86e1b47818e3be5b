// SPDX-License-Identifier: MIT
#include <lora/event.hpp>

#include <utility>

#include "support/host_backend.hpp"
#include "support/tensors.hpp"

using namespace lora_test;

TEST_CASE("an event is given back once, wherever it was moved", "[event]") {
  const HostBackend device;
  {
    lora::Event a;
    lora::Event b(true);
    CHECK(HostBackend::events() == 2);
    lora::Event c = std::move(a);
    b = lora::Event();
    CHECK(HostBackend::events() == 2);
    c.record();
    c.synchronize();
    CHECK(c.query());
  }
  CHECK(HostBackend::events() == 0);
}

TEST_CASE("an event is recorded in the current stream or the one it is given", "[event]") {
  HostBackend device;
  static void* recorded_in = nullptr;
  static std::pair<void*, void*> waits;
  device.table().record_event = [](void*, void* stream) {
    recorded_in = stream;
    return 0;
  };
  device.table().wait_event = [](void* stream, void* event) {
    waits = {stream, event};
    return 0;
  };
  const lora::Stream current, other;
  lora::Event event;
  {
    const lora::ScopedStream scope(current);
    event.record();
    CHECK(recorded_in == current.handle());
    event.record(other);
    CHECK(recorded_in == other.handle());
  }
  event.record();
  CHECK(recorded_in == nullptr);
  other.wait_event(event);
  CHECK(waits == std::pair(other.handle(), event.handle()));
}

TEST_CASE("the time between two events", "[event]") {
  const HostBackend device;
  lora::Event start(true), end(true), untimed;
  start.record();
  CHECK_THROWS_WITH(start.elapsed_time(end),
                    "Event::elapsed_time: the second event was never recorded");
  end.record();
  untimed.record();
  CHECK(start.elapsed_time(end) == 1.5);
  CHECK_THROWS_AS(untimed.elapsed_time(end), lora::ValueError);
  CHECK_THROWS_WITH(untimed.elapsed_time(end),
                    "Event::elapsed_time: the first event was made without enable_timing");
  const lora::Event moved = std::move(end);
  CHECK(start.elapsed_time(moved) == 1.5);
}

TEST_CASE("what went wrong before an event is thrown where it is waited for", "[event][errors]") {
  HostBackend device;
  lora::Event event(true);
  const lora::Stream stream;
  device.table().synchronize_event = [](void*) { return 700; };
  device.table().query_event = [](void*, bool*) { return 700; };
  device.table().wait_event = [](void*, void*) { return 700; };
  device.table().elapsed_time = [](void*, void*, float*) { return 600; };
  event.record();
  CHECK_THROWS_WITH(event.synchronize(), "Event::synchronize: the launch failed");
  CHECK_THROWS_WITH(event.query(), "Event::query: the launch failed");
  CHECK_THROWS_WITH(stream.wait_event(event), "Stream::wait_event: the launch failed");
  CHECK_THROWS_WITH(event.elapsed_time(event), "Event::elapsed_time: the launch failed");
}

TEST_CASE("without a GPU an event says why", "[event][errors]") {
  CHECK_THROWS_AS(lora::Event(), lora::DeviceError);
  CHECK_THROWS_WITH(lora::Event(true), contains("device cuda is not there"));
}
