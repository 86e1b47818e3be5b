// SPDX-License-Identifier: MIT
#include <lora/nn/conv2d.hpp>

#include <vector>

#include <lora/io/checkpoint.hpp>
#include <lora/lora.hpp>
#include <lora/nn/reshape.hpp>

#include "support/adapters.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::LoRAConfig;

namespace {

/// Settings in which every option of a convolution has a value of its own.
std::vector<lora::Conv2dOptions> settings() {
  return {{},
          {.stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}},
          {.stride = 2, .padding = 1, .groups = 2},
          {.dilation = 2, .groups = 4}};
}

template <class T>
lora::Sequential<T> conv_net(const lora::Conv2dOptions& options, bool bias = true) {
  lora::PhiloxGenerator generator(1);
  lora::Sequential<T> net;
  net.add("conv", lora::Conv2d<T>(4, 8, {3, 2}, generator, options, bias));
  net.add("flat", lora::Flatten<T>());
  return net;
}

template <class T>
lora::LoRAConv2d<T>& adapted(lora::Module<T>& net) {
  return *lora::layers_of<lora::LoRAConv2d<T>>(net).at(0).second;
}

const LoRAConfig kRank4{.r = 4, .lora_alpha = 6, .target_modules = {"conv"}};

/// The convolution of x by w, one number after the other.
Tensor<double> reference_conv(const Tensor<double>& x, const Tensor<double>& w,
                              const lora::Conv2dOptions& o, const Shape& y_shape) {
  Tensor<double> y(y_shape);
  const index_t out_of_group = w.dim(0) / o.groups;
  index_t at = 0;
  for (index_t n = 0; n < y.dim(0); ++n) {
    for (index_t c = 0; c < y.dim(1); ++c) {
      for (index_t i = 0; i < y.dim(2); ++i) {
        for (index_t j = 0; j < y.dim(3); ++j, ++at) {
          for (index_t k = 0; k < w.dim(1); ++k) {
            const index_t channel = c / out_of_group * w.dim(1) + k;
            for (index_t a = 0; a < w.dim(2); ++a) {
              for (index_t b = 0; b < w.dim(3); ++b) {
                const index_t row = i * o.stride.h + a * o.dilation.h - o.padding.h;
                const index_t col = j * o.stride.w + b * o.dilation.w - o.padding.w;
                if (row < 0 || row >= x.dim(2) || col < 0 || col >= x.dim(3)) continue;
                y[at] += x[((n * x.dim(1) + channel) * x.dim(2) + row) * x.dim(3) + col] *
                         w[((c * w.dim(1) + k) * w.dim(2) + a) * w.dim(3) + b];
              }
            }
          }
        }
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("an adapted convolution is that by W and those by A and B", "[nn][lora][conv2d]") {
  for (const auto& options : settings()) {
    auto net = conv_net<double>(options, false);
    lora::adapt(net, kRank4);
    auto& layer = adapted(net);
    INFO(layer.to_string());
    const Tensor<double> x = random_tensor<double>({2, 4, 9, 8}, 2);
    CHECK(same_bits(layer.forward(x), layer.base().forward(x)));
    CHECK(layer.adapter().lora_A.value.shape() == Shape{4, 4, 3, 2});
    CHECK(layer.adapter().lora_B.value.shape() == Shape{8, 4 / options.groups, 1, 1});

    randomize_adapter(net, "default", 3);
    const Tensor<double> y = layer.forward(x);
    lora::Conv2dOptions down = options;
    down.groups = 1;
    const Shape h_shape{y.dim(0), 4, y.dim(2), y.dim(3)};
    const Tensor<double> h = reference_conv(x, layer.adapter().lora_A.value, down, h_shape);
    const Tensor<double> update =
        reference_conv(h, layer.adapter().lora_B.value, {.groups = options.groups}, y.shape());
    Tensor<double> expected = reference_conv(x, layer.base().weight.value, options, y.shape());
    for (index_t i = 0; i < y.numel(); ++i) expected[i] += 1.5 * update[i];
    CHECK(max_error(y, expected) < 1e-12);
  }
}

TEST_CASE("gradients of adapted convolutions", "[nn][lora][conv2d][gradient]") {
  for (const double dropout : {0.0, 0.4}) {
    for (const auto& options : settings()) {
      auto net = conv_net<double>(options);
      LoRAConfig config = kRank4;
      config.lora_dropout = dropout;
      lora::adapt(net, config, "first");
      lora::add_adapter(net, "second", config);
      lora::set_adapters(net, {"first", "second"});
      randomize_adapter(net, "first", 4);
      randomize_adapter(net, "second", 5);
      for (auto* parameter : net.parameters()) parameter->trainable = true;
      INFO(net.to_string() << ", dropout " << dropout);
      Tensor<double> x = random_tensor<double>({1, 4, 6, 5}, 6);
      lora::Saved<double> saved;
      const Tensor<double> c = random_tensor<double>(net.forward(x, saved).shape(), 7);
      Tensor<double> dx;
      net.backward(c, saved, &dx);
      saved.children[0].repeats = true;  // the same mask
      const auto loss = [&] { return dot(net.forward(x, saved), c); };
      for (const auto& named : net.named_parameters()) {
        INFO(named.name);
        check_gradient(named.parameter->value, named.parameter->grad.dense(), loss);
      }
      check_gradient(x, dx, loss);
    }
  }
}

TEST_CASE("a convolution merges, and its kernels come back to the bit", "[nn][lora][conv2d]") {
  auto net = conv_net<float>({.stride = 2, .padding = 1, .dilation = {1, 2}});
  lora::adapt(net, kRank4);
  randomize_adapter(net, "default", 8);
  auto& layer = adapted(net);
  const Tensor<float> x = random_tensor<float>({3, 4, 9, 9}, 9);
  const Tensor<float> kernels = layer.base().weight.value;
  const Tensor<float> apart = net.forward(x);
  CHECK(layer.effective_weight().shape() == kernels.shape());
  lora::merge(net);
  CHECK(!same_bits(layer.base().weight.value, kernels));
  CHECK(max_error(net.forward(x), apart) < 1e-5);
  {
    const lora::ScopedDisable off(net);
    CHECK(same_bits(layer.base().weight.value, kernels));
  }
  lora::unmerge(net);
  CHECK(same_bits(layer.base().weight.value, kernels));
  CHECK(same_bits(net.forward(x), apart));
}

TEST_CASE("with groups no convolution does what the adapter does", "[nn][lora][conv2d][errors]") {
  auto net = conv_net<float>({.groups = 2});
  lora::adapt(net, kRank4);
  const Tensor<float> kernels = adapted(net).base().weight.value;
  CHECK_THROWS_WITH(lora::merge(net),
                    contains("an adapter of a convolution with groups cannot be merged"));
  CHECK(same_bits(adapted(net).base().weight.value, kernels));
  CHECK_FALSE(adapted(net).merged());
}

TEST_CASE("what an adapter of a convolution cannot be", "[nn][lora][conv2d][errors]") {
  auto net = conv_net<float>({.groups = 2});
  LoRAConfig config = kRank4;
  config.r = 3;
  CHECK_THROWS_WITH(lora::adapt(net, config), contains("expected a multiple of its 2 groups"));
  config.r = 9;
  CHECK_THROWS_WITH(lora::adapt(net, config), contains("expected 1 to 8"));
  config = kRank4;
  config.use_dora = true;
  CHECK_THROWS_WITH(lora::adapt(net, config), contains("cannot have use_dora: only Linear can"));
  CHECK_THROWS_WITH(lora::adapt(net, {.r = 2}), contains("no Linear to adapt"));
}

TEST_CASE("a convolution's adapter is saved in PEFT's shapes", "[nn][lora][conv2d]") {
  const TemporaryFolder folder;
  auto net = conv_net<float>({.groups = 2});
  lora::adapt(net, kRank4);
  randomize_adapter(net, "default", 10);
  const std::string path = (folder.path() / "adapter.safetensors").string();
  lora::save_adapter(net, path);
  const lora::SafetensorsFile file(path);
  CHECK(file.read<float>("base_model.model.conv.lora_A.weight").shape() == Shape{4, 4, 3, 2});
  CHECK(file.read<float>("base_model.model.conv.lora_B.weight").shape() == Shape{8, 2, 1, 1});
}
