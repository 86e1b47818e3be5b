// SPDX-License-Identifier: MIT
// Everything that treats one row at a time: the study's shapes, then large ones.
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

namespace ops = lora::ops;

constexpr index_t kClasses = 10;
constexpr index_t kPixels = 784;
constexpr index_t kImages = 60000;

Tensor<index_t> first_step() { return Tensor<index_t>({1}, {1}); }

// The row is read twice, the second time from the cache.
void softmax_cross_entropy(benchmark::State& state) {
  const index_t rows = state.range(0), classes = state.range(1);
  const std::tuple made(random({rows, classes}, 1), random_below<std::int32_t>(classes, {rows}, 2),
                        Tensor<float>(), Tensor<double>({1}), first_step());
  run(state, made, {.bytes = 2 * floats(rows * classes)}, [](auto& t) {
    auto& [logits, labels, dlogits, losses, step] = t;
    ops::softmax_cross_entropy(logits, labels, dlogits, losses, step);
  });
}

void softmax_cross_entropy_in_place(benchmark::State& state) {
  const index_t rows = state.range(0), classes = state.range(1);
  const std::tuple made(random({rows, classes}, 1), random_below<std::int32_t>(classes, {rows}, 2),
                        Tensor<double>({1}), first_step());
  const auto step = [](auto& t) {
    auto& [logits, labels, losses, step] = t;
    ops::softmax_cross_entropy(logits, labels, logits, losses, step);
  };
  run(state, made, {.bytes = 2 * floats(rows * classes)}, step, {.restore_first = true});
}

void argmax(benchmark::State& state) {
  const index_t rows = state.range(0), classes = state.range(1);
  const std::tuple made(random({rows, classes}, 1), Tensor<std::int32_t>());
  run(state, made, {.bytes = floats(rows * classes)}, [](auto& t) {
    auto& [x, indices] = t;
    ops::argmax(x, indices);
  });
}

void count_errors(benchmark::State& state) {
  const index_t rows = state.range(0);
  const std::tuple made(random_below<std::int32_t>(kClasses, {rows}, 1),
                        random_below<std::int32_t>(kClasses, {rows}, 2),
                        Tensor<index_t>({kClasses}));
  run(state, made, {.bytes = 2 * floats(rows)}, [](auto& t) {
    auto& [predictions, labels, wrong] = t;
    ops::count_errors(predictions, labels, wrong);
  });
}

// A pixel is one byte, and becomes four.
Cost gather(index_t rows) { return {.bytes = 5.0 * static_cast<double>(rows * kPixels)}; }

void normalize_rows(benchmark::State& state) {
  const index_t rows = state.range(0);
  const std::tuple made(random_below<std::uint8_t>(256, {kImages, kPixels}, 1),
                        random_below<index_t>(kImages, {rows}, 2), Tensor<float>());
  run(state, made, gather(rows), [](auto& t) {
    auto& [images, order, y] = t;
    ops::normalize_rows(images, order, y, 0.1307, 0.3081);
  });
}

// The step that it counts takes each launch to other images.
void next_batch(benchmark::State& state) {
  const index_t rows = state.range(0);
  const std::tuple made(random_below<std::uint8_t>(256, {kImages, kPixels}, 1),
                        random_below<std::int32_t>(kClasses, {kImages}, 2),
                        random_below<index_t>(kImages, {kImages}, 3), first_step(),
                        Tensor<float>({rows, kPixels}), Tensor<std::int32_t>());
  run(state, made, gather(rows), [](auto& t) {
    auto& [images, labels, order, step, y, batch_labels] = t;
    ops::next_batch(images, labels, order, step, y, batch_labels, 0.1307, 0.3081);
  });
}

}  // namespace

void add_rows() {
  add("softmax_cross_entropy", softmax_cross_entropy)
      ->ArgNames({"B", "C"})
      ->Args({10, 10})
      ->Args({64, 32000});
  add("softmax_cross_entropy_in_place", softmax_cross_entropy_in_place)
      ->ArgNames({"B", "C"})
      ->Args({8192, 32000});
  add("argmax", argmax)->ArgNames({"B", "C"})->Args({10, 10})->Args({8192, 32000});
  add("count_errors", count_errors)->ArgName("B")->Arg(10)->Arg(10000)->Arg(1 << 24);
  add("normalize_rows", normalize_rows)->ArgName("B")->Arg(10)->Arg(60000);
  add("next_batch", next_batch)->ArgName("B")->Arg(10)->Arg(8192);
}

}  // namespace lora_bench
