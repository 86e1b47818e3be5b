// SPDX-License-Identifier: MIT
#include <lora/staging.hpp>

#include <optional>

#include "kernels/support.hpp"

using namespace lora_test;

namespace {

void fill(std::span<float> slot, float value) {
  for (float& element : slot) element = value;
}

}  // namespace

TEST_CASE("an event is reached when what was before it has run", "[kernels][runtime]") {
  const lora::Stream stream, other;
  lora::Event start(true), end(true);
  CHECK(start.query());
  Tensor<float> y = on_gpu(Tensor<float>({1000}));
  start.record(stream);
  {
    const lora::ScopedStream scope(stream);
    lora::ops::fill(y, 3.0);
    end.record();
  }
  other.wait_event(end);
  {
    const lora::ScopedStream scope(other);
    lora::ops::scale(y, 2.0);
  }
  other.synchronize();
  CHECK(end.query());
  end.synchronize();
  CHECK(start.elapsed_time(end) >= 0);
  CHECK(on_cpu(y)[999] == 6.0f);
}

TEST_CASE("an event behind a copy is not reached before it", "[kernels][runtime]") {
  constexpr index_t kSize = 1 << 20;
  Tensor<float> x({kSize}, Device::cuda);
  lora::StagingRing<float> ring(kSize);
  lora::Event event;
  fill(ring.next(), 7);
  ring.upload(x);
  event.record();
  while (!event.query()) {
  }
  CHECK(on_cpu(x)[kSize - 1] == 7.0f);
}

// Each tensor must hold what its slot held at the upload, not what the slot was filled with later.
TEST_CASE("a ring never changes what is still on its way", "[kernels][staging]") {
  for (const int slots : {1, 2, 3}) {
    for (const bool own_stream : {false, true}) {
      INFO(slots << " slots" << (own_stream ? ", own stream" : ""));
      constexpr index_t kSize = 100003;
      std::vector<Tensor<float>> tensors;
      for (int i = 0; i < 7; ++i) tensors.emplace_back(Shape{kSize}, Device::cuda);
      const lora::Stream stream;
      {
        lora::StagingRing<float> ring(kSize, slots);
        std::optional<lora::ScopedStream> scope;
        if (own_stream) scope.emplace(stream);
        for (std::size_t i = 0; i < tensors.size(); ++i) {
          fill(ring.next(), static_cast<float>(i + 1));
          ring.upload(tensors[i]);
        }
      }
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        INFO("tensor " << i);
        Tensor<float> expected({kSize});
        fill(expected.span(), static_cast<float>(i + 1));
        CHECK(same_bits(on_cpu(tensors[i]), expected));
      }
    }
  }
}

TEST_CASE("a slot that goes to two streams waits for both", "[kernels][staging]") {
  constexpr index_t kSize = 5000;
  Tensor<float> x({kSize}, Device::cuda), y({kSize}, Device::cuda);
  const lora::Stream one, two;
  lora::StagingRing<float> ring(kSize, 1);
  fill(ring.next(), 1);
  for (const auto& [stream, tensor] : {std::pair(&one, &x), std::pair(&two, &y)}) {
    const lora::ScopedStream scope(*stream);
    ring.upload(*tensor);
  }
  fill(ring.next(), 2);
  CHECK(on_cpu(x)[kSize - 1] == 1.0f);
  CHECK(on_cpu(y)[kSize - 1] == 1.0f);
}

TEST_CASE("an op behind an upload sees it, and the ring gives its memory back",
          "[kernels][staging]") {
  Tensor<float> x({3}, Device::cuda);
  {
    lora::StagingRing<float> ring(3);
    for (const float value : {1.0f, 2.0f, 3.0f}) {
      fill(ring.next(), value);
      ring.upload(x);
      lora::ops::scale(x, 10.0);
    }
    fill(ring.next(), 4);
    ring.upload(x);
  }
  CHECK(on_cpu(x)[2] == 4.0f);
}
