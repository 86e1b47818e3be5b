// SPDX-License-Identifier: MIT
#include <lora/ops/adam.hpp>
#include <lora/ops/sgd.hpp>

#include "kernels/linear_support.hpp"

using namespace lora_test;
using lora::AdamState;
namespace ops = lora::ops;

namespace {

const LayerSizes kLayers[] = {{1, 1, 1, 1},      {10, 784, 100, 1}, {10, 1300, 10, 2},
                              {7, 65, 63, 4},    {11, 100, 65, 8},  {10, 3, 1001, 16},
                              {64, 64, 133, 33}, {2, 999, 37, 1},   {17, 260, 300, 3},
                              {65, 66, 67, 2},   {130, 65, 64, 33}};

const lora::AdamOptions kAdam{.lr = 0.01, .weight_decay = 0.01};
const lora::AdamOptions kAdamW{.lr = 0.01, .weight_decay = 0.1, .decoupled_weight_decay = true};
const lora::SGDOptions kSgd{.lr = 0.125, .weight_decay = 0.25};

// The two of an adapter, which may have had different numbers of updates.
const lora::detail::AdamSchedule kOfA = lora::detail::adam_schedule(kAdamW, 5, 1, 0.5);
const lora::detail::AdamSchedule kOfB = lora::detail::adam_schedule(kAdam, 7, 16);

AdamState<float> random_state(const Tensor<float>& value, std::uint64_t seed, Device device) {
  Tensor<float> m = random_tensor<float>(value.shape(), seed);
  Tensor<float> v = random_tensor<float>(value.shape(), seed + 1);
  for (float& element : v.span()) element *= element;
  return {m.to(device), v.to(device)};
}

/// Everything that a step changes, one after another.
struct Results {
  std::vector<Tensor<float>> tensors;

  void add(const Tensor<float>& t) { tensors.push_back(on_cpu(t)); }
  void add(const AdamState<float>& s) {
    add(s.m);
    add(s.v);
  }
};

void check_same_bits(const Results& x, const Results& y) {
  REQUIRE(x.tensors.size() == y.tensors.size());
  for (std::size_t i = 0; i < x.tensors.size(); ++i) {
    INFO("tensor " << i);
    CHECK(same_bits(x.tensors[i], y.tensors[i]));
  }
}

Results adam_step(const LayerOperands& o, bool with_dx, Device device,
                  const lora::AdamOptions& options = kAdam) {
  const auto dy = o.dy.to(device), x = o.x.to(device), relu_output = o.relu_output.to(device);
  auto w = o.w.to(device), bias = o.bias.to(device);
  auto w_state = random_state(o.w, 1, device), bias_state = random_state(o.bias, 3, device);
  Tensor<float> dx({0}, device);
  ops::linear_backward_adam(dy, x, w, w_state, &bias, &bias_state, with_dx ? &dx : nullptr,
                            lora::detail::adam_schedule(options, 3),
                            with_dx ? &relu_output : nullptr);
  Results r;
  r.add(w);
  r.add(w_state);
  r.add(bias);
  r.add(bias_state);
  r.add(dx);
  return r;
}

Results sgd_step(const LayerOperands& o, bool with_dx, Device device) {
  const auto dy = o.dy.to(device), x = o.x.to(device);
  auto w = o.w.to(device);
  Tensor<float> dx({0}, device);
  ops::linear_backward_sgd(dy, x, w, with_dx ? &dx : nullptr, kSgd);
  Results r;
  r.add(w);
  r.add(dx);
  return r;
}

Results lora_step(const LayerOperands& o, bool with_dx, Device device) {
  const auto dy = o.dy.to(device), x = o.x.to(device), w = o.w.to(device);
  const auto relu_output = o.relu_output.to(device);
  auto a = o.a.to(device), b = o.b.to(device);
  auto a_state = random_state(o.a, 5, device), b_state = random_state(o.b, 7, device);
  Tensor<float> h, y, dh, dx({0}, device);
  ops::lora_linear<float>(x, w, nullptr, a, b, h, y, 2.0);
  ops::lora_linear_backward_adam(dy, x, w, h, a, a_state, b, b_state, dh, with_dx ? &dx : nullptr,
                                 2.0, kOfA, kOfB, with_dx ? &relu_output : nullptr);
  Results r;
  r.add(a);
  r.add(a_state);
  r.add(b);
  r.add(b_state);
  r.add(dh);
  r.add(dx);
  return r;
}

}  // namespace

// The products are exact here, and the update is rounded alike, so every bit agrees.
TEST_CASE("updates on cuda have the CPU's bits where the gradient is exact", "[kernels][update]") {
  if (!cpu_has_fma()) {
    WARN("the baseline instruction set has no fused multiply-add: not compared bit for bit");
    return;
  }
  std::uint64_t seed = 11000;
  for (const LayerSizes& s : kLayers) {
    for (const bool with_dx : {true, false}) {
      INFO(text(s) << ", seed " << seed << (with_dx ? ", dx" : ""));
      const LayerOperands o(s, true, seed += 10);
      for (const lora::AdamOptions& options : {kAdam, kAdamW}) {
        check_same_bits(adam_step(o, with_dx, Device::cuda, options),
                        adam_step(o, with_dx, Device::cpu, options));
      }
      check_same_bits(sgd_step(o, with_dx, Device::cuda), sgd_step(o, with_dx, Device::cpu));
      check_same_bits(lora_step(o, with_dx, Device::cuda), lora_step(o, with_dx, Device::cpu));
    }
  }
}

// Each element of the gradient is summed over the batch in order, with fused roundings.
TEST_CASE("factored updates on cuda have the bits of the dense ones", "[kernels][update]") {
  if (!cpu_has_fma()) return;
  for (const LayerSizes& s : kLayers) {
    INFO(text(s));
    const LayerOperands o(s, false, 12000);
    Tensor<float> gradient({s.out, s.in});
    for (index_t row = 0; row < s.out; ++row) {
      for (index_t k = 0; k < s.in; ++k) {
        for (index_t m = 0; m < s.batch; ++m) {
          gradient(row, k) = std::fma(o.dy(m, row), o.x(m, k), gradient(row, k));
        }
      }
    }
    Results dense, factored;
    auto w = o.w, w_sgd = o.w;
    auto state = random_state(o.w, 1, Device::cpu);
    ops::adam(gradient, w, state, lora::detail::adam_schedule(kAdam, 2));
    ops::sgd(gradient, w_sgd, kSgd);
    dense.add(w);
    dense.add(state);
    dense.add(w_sgd);
    const auto dy = on_gpu(o.dy), x = on_gpu(o.x);
    w = on_gpu(o.w);
    w_sgd = on_gpu(o.w);
    state = random_state(o.w, 1, Device::cuda);
    ops::adam_factored(dy, x, w, state, lora::detail::adam_schedule(kAdam, 2));
    ops::sgd_factored(dy, x, w_sgd, kSgd);
    factored.add(w);
    factored.add(state);
    factored.add(w_sgd);
    check_same_bits(factored, dense);
  }
}

TEST_CASE("linear_backward_adam on cuda has the bits of its parts", "[kernels][update]") {
  for (const LayerSizes& s :
       {LayerSizes{10, 260, 301}, LayerSizes{20, 65, 130}, LayerSizes{70, 64, 65}}) {
    INFO(text(s));
    const LayerOperands o(s, false, 13000);
    const Results whole = adam_step(o, true, Device::cuda);
    const auto dy = on_gpu(o.dy), x = on_gpu(o.x), relu_output = on_gpu(o.relu_output);
    auto w = on_gpu(o.w);
    auto state = random_state(o.w, 1, Device::cuda);
    Tensor<float> dx;
    ops::linear_backward_input(dy, w, dx, &relu_output);
    ops::adam_factored(dy, x, w, state, lora::detail::adam_schedule(kAdam, 3));
    CHECK(same_bits(whole.tensors[0], on_cpu(w)));
    CHECK(same_bits(whole.tensors[1], on_cpu(state.m)));
    CHECK(same_bits(whole.tensors[2], on_cpu(state.v)));
    CHECK(same_bits(whole.tensors[6], on_cpu(dx)));
  }
}

TEST_CASE("lora_linear_backward_adam on cuda has the bits of its parts", "[kernels][update]") {
  std::uint64_t seed = 14000;
  for (const LayerSizes& s :
       {LayerSizes{10, 784, 1000, 1}, LayerSizes{10, 1300, 10, 16}, LayerSizes{1, 65, 97, 3},
        LayerSizes{20, 260, 301, 5}, LayerSizes{33, 129, 1001, 17}, LayerSizes{64, 70, 33, 40},
        LayerSizes{130, 66, 200, 7}, LayerSizes{300, 33, 1500, 33}}) {
    for (const bool with_dx : {true, false}) {
      const LayerOperands o(s, false, seed += 10);
      INFO(text(s) << ", seed " << seed << (with_dx ? ", dx" : ""));
      const Results whole = lora_step(o, with_dx, Device::cuda);
      const auto dy = on_gpu(o.dy), x = on_gpu(o.x), w = on_gpu(o.w);
      const auto relu_output = on_gpu(o.relu_output);
      auto a = on_gpu(o.a), b = on_gpu(o.b);
      auto a_state = random_state(o.a, 5, Device::cuda),
           b_state = random_state(o.b, 7, Device::cuda);
      Tensor<float> h, y, dh, dx({0}, Device::cuda);
      ops::lora_linear<float>(x, w, nullptr, a, b, h, y, 2.0);
      ops::lora_linear_backward_input(dy, w, a, b, dh, with_dx ? &dx : nullptr, 2.0,
                                      with_dx ? &relu_output : nullptr);
      ops::adam_factored(dh, x, a, a_state, kOfA);
      ops::adam_factored(dy, h, b, b_state, kOfB);
      Results parts;
      parts.add(a);
      parts.add(a_state);
      parts.add(b);
      parts.add(b_state);
      parts.add(dh);
      parts.add(dx);
      check_same_bits(whole, parts);
    }
  }
}

TEST_CASE("lora_linear_backward_adam on cuda of what is not aligned writes nothing beside it",
          "[kernels][update]") {
  const LayerOperands o({10, 130, 75, 3}, true, 14500);
  const lora::detail::Backend& table = lora::detail::backend();
  const Tensor<float> h = random_integers<float>({10, 3}, 14600);
  const Tensor<float> zeros_a({3, 130}), zeros_b({75, 3});
  std::vector<Tensor<float>> results[2];
  for (const index_t shift : {0, 1}) {
    EmbeddedMatrix dy(o.dy, shift, shift), x(o.x, 2 * shift, shift), w(o.w, shift, 3 * shift);
    EmbeddedMatrix h_in(h, shift, shift), a(o.a, shift, shift), b(o.b, 3 * shift, 2 * shift);
    EmbeddedMatrix am(zeros_a, shift, 0), av(zeros_a, 0, shift), bm(zeros_b, shift, 0);
    EmbeddedMatrix bv(zeros_b, 0, shift), dh(Tensor<float>({10, 3}), shift, shift);
    EmbeddedMatrix dx(Tensor<float>({10, 130}), shift, shift);
    const int code = table.lora_linear_backward_adam(
        dy.view(), x.view(), w.view(), h_in.view(), {a.view(), am.view(), av.view()},
        {b.view(), bm.view(), bv.view()}, {}, dh.view(), dx.view(), 2.0, kOfA, kOfB, nullptr);
    REQUIRE(code == 0);
    for (const EmbeddedMatrix* m : {&dy, &x, &w, &h_in, &a, &b, &am, &av, &bm, &bv, &dh, &dx}) {
      results[shift].push_back(m->values());
    }
  }
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    INFO("matrix " << i);
    CHECK(same_bits(results[1][i], results[0][i]));
  }
}

TEST_CASE("updates on cuda take their scalars from the device", "[kernels][update]") {
  const LayerOperands o({10, 65, 33}, false, 15000);
  const auto dy = on_gpu(o.dy), x = on_gpu(o.x);
  constexpr std::size_t kSteps = 4;
  std::vector<lora::detail::AdamScalars> table;
  for (std::size_t t = 1; t <= kSteps; ++t) {
    table.push_back(lora::detail::adam_scalars(kAdam, static_cast<std::int64_t>(t)));
  }
  constexpr std::size_t kDoubles = sizeof(lora::detail::AdamScalars) / sizeof(double);
  std::vector<double> doubles(kSteps * kDoubles);
  std::memcpy(doubles.data(), table.data(), doubles.size() * sizeof(double));
  const auto on_device =
      on_gpu(Tensor<double>({static_cast<index_t>(doubles.size())}, std::move(doubles)));
  const auto step = on_gpu(Tensor<std::int64_t>({1}, {3}));
  const lora::detail::AdamSchedule schedule{
      {},
      reinterpret_cast<const lora::detail::AdamScalars*>(on_device.vector().data),
      step.vector().data};
  Results of[2];
  for (const bool from_table : {false, true}) {
    auto w = on_gpu(o.w);
    auto state = random_state(o.w, 1, Device::cuda);
    Tensor<float> dx;
    ops::linear_backward_adam<float>(dy, x, w, state, nullptr, nullptr, &dx,
                                     from_table ? schedule : lora::detail::adam_schedule(kAdam, 3));
    of[from_table].add(w);
    of[from_table].add(state);
  }
  check_same_bits(of[0], of[1]);
}

TEST_CASE("updates on cuda of an empty batch still move the moments", "[kernels][update]") {
  const LayerOperands o({0, 66, 70, 3}, true, 16000);
  check_same_bits(adam_step(o, true, Device::cuda), adam_step(o, true, Device::cpu));
  for (const bool with_dx : {true, false}) {
    check_same_bits(lora_step(o, with_dx, Device::cuda), lora_step(o, with_dx, Device::cpu));
  }
}
