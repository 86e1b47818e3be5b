// SPDX-License-Identifier: MIT
#include <lora/nn/merge.hpp>

#include "support/adapters.hpp"
#include "support/host_backend.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

template <class T>
std::vector<Tensor<T>> values_of(lora::Module<T>& net) {
  std::vector<Tensor<T>> values;
  for (const auto* parameter : net.parameters()) {
    values.push_back(parameter->value.to(lora::Device::cpu));
  }
  return values;
}

template <class T>
bool all_same_bits(const std::vector<Tensor<T>>& x, const std::vector<Tensor<T>>& y) {
  bool same = x.size() == y.size();
  for (std::size_t i = 0; same && i < x.size(); ++i) same = same_bits(x[i], y[i]);
  return same;
}

template <class T>
lora::Sequential<T> adapted_net(const lora::LoRAConfig& config = {.r = 2, .lora_alpha = 3}) {
  auto net = small_net<T>(1, 50, 40, 30);
  lora::adapt(net, config);
  randomize_adapter(net, "default", 2);
  return net;
}

}  // namespace

TEST_CASE("merge and unmerge leave every bit as it was, in every type", "[nn][merge]") {
  const auto run = [](auto zero) {
    using T = decltype(zero);
    auto net = adapted_net<T>();
    const auto before = values_of(net);
    lora::merge(net);
    CHECK_FALSE(all_same_bits(values_of(net), before));
    lora::unmerge(net);
    CHECK(all_same_bits(values_of(net), before));
  };
  run(0.0f);
  run(0.0);
}

TEST_CASE("the report says what rounding took", "[nn][merge]") {
  auto net = adapted_net<float>();
  const auto report = lora::merge(net);
  REQUIRE(report.size() == 2);
  CHECK(report[0].path == "linear1");
  CHECK(report[0].error.max_error > 0);
  CHECK(report[0].error.max_error < 1e-6);
  CHECK(report[0].error.relative_error < 1e-6);
  CHECK(report[0].error.lost == 0);
  // Two bytes for the elements that need one, not a second copy of W.
  CHECK(report[0].error.patch_bytes < 50 * 40 * sizeof(float) / 2);
  CHECK_THAT(lora::to_string(report), contains("linear2"));
}

TEST_CASE("the share of a small update that vanishes is reported", "[nn][merge]") {
  auto net = adapted_net<float>();
  for (const auto& [path, layer] : lora::lora_layers(net)) {
    lora::ops::fill(layer->adapter().lora_A.value, 1e-9);
  }
  const auto report = lora::check_merge(net);
  CHECK(report[0].error.lost > 0.5);
  CHECK(report[0].error.relative_error > 0.5);
}

TEST_CASE("merge refuses to lose more than the threshold, and changes nothing",
          "[nn][merge][errors]") {
  auto net = adapted_net<float>();
  lora::ops::fill(lora_layer(net, 1).adapter().lora_A.value, 1e-9);
  const auto before = values_of(net);
  CHECK_THROWS_WITH(lora::merge(net), contains("nothing was merged: linear2 would lose"));
  CHECK(all_same_bits(values_of(net), before));
  CHECK_FALSE(lora_layer(net, 0).merged());
  CHECK_NOTHROW(lora::merge(net, {.max_relative_error = 1e9}));
}

TEST_CASE("merge refuses what is not finite, names every layer, changes nothing",
          "[nn][merge][errors]") {
  auto net = adapted_net<float>({.r = 2, .lora_bias = true});
  lora_layer(net, 0).adapter().lora_B.value[3] = NAN;
  lora_layer(net, 1).adapter().lora_B_bias.value[3] = INFINITY;
  const auto before = values_of(net);
  CHECK_THROWS_WITH(lora::merge(net), contains("linear1 would not be finite") &&
                                          contains("linear2 would not be finite"));
  CHECK(all_same_bits(values_of(net), before));
}

TEST_CASE("a merge that fails half-way leaves the model as it was", "[nn][merge][errors]") {
  HostBackend device;
  auto net = adapted_net<float>();
  net.to(lora::Device::cuda);
  const auto before = values_of(net);
  // One of the copies to or from the device fails.
  static int copies_before_failure;
  static decltype(lora::detail::Backend::copy) copy;
  auto& table = device.table();
  copy = table.copy;
  table.copy = [](void* to, const void* from, std::size_t bytes, lora::detail::CopyKind kind,
                  void* stream) {
    return copies_before_failure-- == 0 ? 2 : copy(to, from, bytes, kind, stream);
  };
  int failures = 0;
  for (int before_failure = 0; before_failure < 20; ++before_failure) {
    copies_before_failure = before_failure;
    bool failed = false;
    try {
      lora::merge(net);
    } catch (const lora::DeviceError&) {
      failed = true;
    }
    copies_before_failure = -1;
    INFO(before_failure << " copies before one fails");
    CHECK(lora_layer(net, 0).merged() == !failed);
    CHECK(lora_layer(net, 1).merged() == !failed);
    if (!failed) lora::unmerge(net);
    CHECK(all_same_bits(values_of(net), before));
    failures += failed;
  }
  CHECK(failures > 4);
}

TEST_CASE("DoRA merges and unmerges to the bit", "[nn][merge]") {
  auto net = adapted_net<float>({.r = 2, .lora_alpha = 3, .use_dora = true});
  const auto before = values_of(net);
  const auto report = lora::merge(net);
  CHECK(report[0].error.patch_bytes < 50 * 40 * sizeof(float) * 3 / 4);
  lora::unmerge(net);
  CHECK(all_same_bits(values_of(net), before));
}

TEST_CASE("a merge does not depend on the number of threads", "[nn][merge]") {
  const ThreadCountGuard guard;
  std::vector<std::vector<Tensor<float>>> merged;
  for (const int threads : {1, 3}) {
    lora::set_num_threads(threads);
    auto net = small_net<float>(1, 70, 200, 150);
    lora::adapt(net, {.r = 3});
    randomize_adapter(net, "default", 2);
    lora::merge(net);
    merged.push_back(values_of(net));
  }
  CHECK(all_same_bits(merged[0], merged[1]));
}
