// SPDX-License-Identifier: MIT
#include <lora/graph.hpp>
#include <lora/stream.hpp>

#include "kernels/support.hpp"

using namespace lora_test;

TEST_CASE("the device has a name", "[kernels][runtime]") {
  CHECK_THAT(lora::detail::backend().device_name(), contains(" multiprocessors"));
}

TEST_CASE("a tensor goes to the device and back", "[kernels][runtime]") {
  for (const index_t size : kSizes) {
    const Tensor<float> x = random_tensor<float>({size}, 1);
    Tensor<float> copy = on_gpu(x);
    copy = Tensor<float>(copy);
    CHECK(same_bits(on_cpu(copy), x));
  }
}

TEST_CASE("ops in a stream of their own", "[kernels][runtime]") {
  Tensor<float> y = on_gpu(random_tensor<float>({1000}, 1));
  const lora::Stream stream;
  {
    const lora::ScopedStream scope(stream);
    lora::ops::scale(y, 2.0);
    lora::ops::fill(y, 3.0);
  }
  stream.synchronize();
  Tensor<float> expected({1000});
  lora::ops::fill(expected, 3.0);
  CHECK(same_bits(on_cpu(y), expected));
}

TEST_CASE("a graph runs when it is launched, and again", "[kernels][graph]") {
  Tensor<float> y = on_gpu(Tensor<float>({5}, {1, 2, 3, 4, 5}));
  const lora::Graph graph = lora::capture([&] { lora::ops::scale(y, 2.0); });
  CHECK(same_bits(on_cpu(y), Tensor<float>({5}, {1, 2, 3, 4, 5})));
  graph.launch();
  graph.launch();
  CHECK(same_bits(on_cpu(y), Tensor<float>({5}, {4, 8, 12, 16, 20})));
}

TEST_CASE("a step of training in a graph advances with each launch", "[kernels][graph]") {
  constexpr index_t kSteps = 4;
  const Tensor<std::uint8_t> images(
      {4, 6}, {0, 9, 50, 3, 1, 7, 80, 2, 9, 4, 5, 6, 33, 12, 8, 1, 0, 99, 7, 77, 3, 20, 90, 1});
  const Tensor<std::int32_t> labels({4}, {0, 1, 2, 3});
  const Tensor<index_t> order({4}, {3, 1, 0, 2});
  Tensor<float> batch({2, 6}), dlogits;
  Tensor<std::int32_t> batch_labels;
  Tensor<index_t> step({1});
  Tensor<double> losses({kSteps});
  const auto run_step = [](auto&&... tensors) {
    const auto& [images, labels, order, step, batch, batch_labels, dlogits, losses] =
        std::forward_as_tuple(tensors...);
    lora::ops::next_batch(images, labels, order, step, batch, batch_labels, 0.1, 0.3);
    lora::softmax_cross_entropy(batch, batch_labels, dlogits, losses, step);
  };
  Tensor<std::uint8_t> gpu_images = on_gpu(images);
  Tensor<std::int32_t> gpu_labels = on_gpu(labels), gpu_batch_labels({2}, Device::cuda);
  Tensor<index_t> gpu_order = on_gpu(order), gpu_step = on_gpu(step);
  Tensor<float> gpu_batch = on_gpu(batch), gpu_dlogits({2, 6}, Device::cuda);
  Tensor<double> gpu_losses = on_gpu(losses);
  const lora::Graph graph = lora::capture([&] {
    run_step(gpu_images, gpu_labels, gpu_order, gpu_step, gpu_batch, gpu_batch_labels, gpu_dlogits,
             gpu_losses);
  });
  for (index_t i = 0; i < kSteps; ++i) {
    run_step(images, labels, order, step, batch, batch_labels, dlogits, losses);
    graph.launch();
  }
  CHECK(same_bits(on_cpu(gpu_step), step));
  CHECK(max_error(on_cpu(gpu_losses), losses) < 1e-6);
  CHECK(losses[0] != losses[1]);
  CHECK(max_error(on_cpu(gpu_dlogits), dlogits) < 1e-6);
}

TEST_CASE("a recording that allocates or waits is an error and leaves all usable",
          "[kernels][graph][errors]") {
  Tensor<float> y = on_gpu(Tensor<float>({3}, {1, 2, 3}));
  CHECK_THROWS_WITH(lora::capture([&] { Tensor<float>({2}).to(Device::cuda); }),
                    contains("cudaErrorStreamCaptureUnsupported"));
  CHECK_THROWS_AS(lora::capture([] { lora::synchronize(); }), lora::DeviceError);
  CHECK_THROWS_AS(lora::capture([] { throw lora::ValueError("stop"); }), lora::ValueError);
  const lora::Graph graph = lora::capture([&] { lora::ops::scale(y, 3.0); });
  graph.launch();
  CHECK(same_bits(on_cpu(y), Tensor<float>({3}, {3, 6, 9})));
}
