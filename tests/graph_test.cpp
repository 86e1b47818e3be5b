// SPDX-License-Identifier: MIT
#include <lora/graph.hpp>

#include <stdexcept>
#include <utility>

#include "support/host_backend.hpp"
#include "support/tensors.hpp"

using namespace lora_test;

namespace {

/// A host backend that counts graphs instead of recording them.
class CountingBackend {
 public:
  CountingBackend() {
    open() = graphs() = launches() = 0;
    lora::detail::Backend& table = device_.table();
    table.begin_capture = [](void*) {
      ++open();
      return 0;
    };
    table.end_capture = [](void*, void** graph) {
      --open();
      ++graphs();
      *graph = &graphs();
      return 0;
    };
    table.launch_graph = [](void*, void*) {
      ++launches();
      return 0;
    };
    table.destroy_graph = [](void*) noexcept { --graphs(); };
  }

  lora::detail::Backend& table() { return device_.table(); }

  static int& open() { return counter<0>(); }
  static int& graphs() { return counter<1>(); }
  static int& launches() { return counter<2>(); }

 private:
  template <int I>
  static int& counter() {
    static int count = 0;
    return count;
  }

  HostBackend device_;
};

}  // namespace

TEST_CASE("a graph is recorded in a stream of its own and launched again", "[graph]") {
  const CountingBackend device;
  {
    lora::Graph graph = lora::capture([] {
      CHECK(CountingBackend::open() == 1);
      CHECK(lora::detail::current_stream != nullptr);
    });
    CHECK(CountingBackend::open() == 0);
    CHECK(lora::detail::current_stream == nullptr);
    const lora::Graph moved = std::move(graph);
    moved.launch();
    moved.launch();
    CHECK(CountingBackend::launches() == 2);
    CHECK(CountingBackend::graphs() == 1);
  }
  CHECK(CountingBackend::graphs() == 0);
  CHECK(HostBackend::streams() == 0);
}

TEST_CASE("an exception ends the recording and drops it", "[graph][errors]") {
  const CountingBackend device;
  CHECK_THROWS_WITH(lora::capture([] { throw std::runtime_error("no more data"); }),
                    "no more data");
  CHECK(CountingBackend::open() == 0);
  CHECK(CountingBackend::graphs() == 0);
  CHECK(HostBackend::streams() == 0);
  CHECK(lora::detail::current_stream == nullptr);
}

TEST_CASE("a recording that is broken when it ends is an error", "[graph][errors]") {
  CountingBackend device;
  device.table().end_capture = [](void*, void** graph) {
    *graph = nullptr;
    --CountingBackend::open();
    return 901;
  };
  CHECK_THROWS_WITH(lora::capture([] {}), "capture: the launch failed");
  CHECK(CountingBackend::open() == 0);
}

TEST_CASE("a device that cannot record says so before anything runs", "[graph][errors]") {
  const HostBackend device;
  CHECK_THROWS_WITH(lora::capture([] { FAIL("must not run"); }), "capture: the launch failed");
  CHECK(HostBackend::streams() == 0);
}

TEST_CASE("without a GPU capture says why", "[graph][errors]") {
  CHECK_THROWS_WITH(lora::capture([] {}), contains("device cuda is not there"));
}
