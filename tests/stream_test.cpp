// SPDX-License-Identifier: MIT
#include <lora/stream.hpp>

#include <utility>

#include "support/host_backend.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::Device;

TEST_CASE("a stream is given back once, wherever it was moved", "[stream]") {
  const HostBackend device;
  {
    lora::Stream a;
    lora::Stream b;
    CHECK(HostBackend::streams() == 2);
    const lora::Stream c = std::move(a);
    b = lora::Stream();
    CHECK(HostBackend::streams() == 2);
    c.synchronize();
  }
  CHECK(HostBackend::streams() == 0);
}

TEST_CASE("ops go to the stream of the innermost scope", "[stream]") {
  HostBackend device;
  static void* seen = nullptr;
  device.table().fill = [](auto, double, void* stream) {
    seen = stream;
    return 0;
  };
  Tensor<float> y({3}, Device::cuda);
  const lora::Stream outer;
  const lora::Stream inner;
  {
    const lora::ScopedStream outer_scope(outer);
    lora::ops::fill(y, 1.0);
    CHECK(seen == outer.handle());
    try {
      const lora::ScopedStream inner_scope(inner);
      lora::ops::fill(y, 1.0);
      CHECK(seen == inner.handle());
      throw 1;
    } catch (int) {
    }
    lora::ops::fill(y, 1.0);
    CHECK(seen == outer.handle());
  }
  lora::ops::fill(y, 1.0);
  CHECK(seen == nullptr);
}

TEST_CASE("what went wrong in a stream is thrown where it is waited for", "[stream][errors]") {
  HostBackend device;
  const lora::Stream stream;
  device.table().synchronize = [](void*) { return 700; };
  CHECK_THROWS_WITH(stream.synchronize(), "Stream::synchronize: the launch failed");
  CHECK_THROWS_WITH(lora::synchronize(), "synchronize: the launch failed");
}

TEST_CASE("without a GPU a stream says why", "[stream][errors]") {
  CHECK_THROWS_AS(lora::Stream(), lora::DeviceError);
  CHECK_THROWS_WITH(lora::Stream(), contains("device cuda is not there"));
  CHECK_THROWS_WITH(lora::synchronize(), contains("device cuda is not there"));
}
