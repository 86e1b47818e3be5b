// SPDX-License-Identifier: MIT
#include <lora/nn/conv2d.hpp>

#include <lora/nn/reshape.hpp>
#include <lora/torch_generator.hpp>

#include "support/conv2d.hpp"
#include "support/golden.hpp"

using namespace lora_test;

TEST_CASE("conv2d agrees with PyTorch", "[conv2d][torch]") {
  const auto file = golden("conv2d");
  for (int i = 0; i < 6; ++i) {
    const std::string name = std::to_string(i) + ".";
    const auto read = [&](const std::string& key) { return file.read<float>(name + key); };
    const auto options = read("options");
    const auto at = [&](index_t k) { return static_cast<index_t>(options[k]); };
    const ConvOperands<float> o{read("x"), read("w"), read("bias"), read("dy")};
    const ConvCase c{o.x.dim(0),
                     o.x.dim(1),
                     o.x.dim(2),
                     o.x.dim(3),
                     o.w.dim(0),
                     {o.w.dim(2), o.w.dim(3)},
                     {.stride = {at(0), at(1)},
                      .padding = {at(2), at(3)},
                      .dilation = {at(4), at(5)},
                      .groups = at(6)}};
    INFO(text(c));
    const ConvResults<float> got(c, o);
    CHECK(max_error(got.y, read("y")) <= 1e-5);
    CHECK(max_error(got.dx, read("dx")) <= 1e-5);
    CHECK(max_error(got.dw, read("dw")) <= 1e-5);
    CHECK(max_error(got.db, read("db")) <= 1e-5);
  }
}

TEST_CASE("Conv2d with a TorchGenerator has torch.nn.Conv2d's weights", "[nn][conv2d][torch]") {
  const auto file = golden("conv2d");
  lora::TorchGenerator generator(1);
  const lora::Conv2d<float> first(1, 16, 3, generator, {.stride = 2});
  const lora::Conv2d<float> grouped(6, 9, {2, 5}, generator, {.groups = 3});
  CHECK(same_bits(first.weight.value, file.read<float>("first.weight")));
  CHECK(same_bits(first.bias.value, file.read<float>("first.bias")));
  CHECK(same_bits(grouped.weight.value, file.read<float>("grouped.weight")));
  CHECK(same_bits(grouped.bias.value, file.read<float>("grouped.bias")));
}

TEST_CASE("Conv2d says what it is", "[nn][conv2d]") {
  lora::PhiloxGenerator generator(1);
  lora::Conv2d<float> layer(1, 16, 3, generator, {.stride = 2});
  CHECK(layer.to_string() == "Conv2d(1, 16, kernel_size=(3, 3), stride=(2, 2))");
  CHECK(layer.named_parameters().size() == 2);
  CHECK(layer.named_parameters()[0].name == "weight");
  CHECK(layer.clone()->to_string() == layer.to_string());

  lora::Conv2d<float> other(4, 6, {2, 5}, generator,
                            {.stride = {1, 3}, .padding = {0, 2}, .dilation = {2, 1}, .groups = 2},
                            false);
  CHECK(other.to_string() ==
        "Conv2d(4, 6, kernel_size=(2, 5), stride=(1, 3), padding=(0, 2), dilation=(2, 1), "
        "groups=2, bias=false)");
  CHECK(other.in_channels() == 4);
  CHECK(other.out_channels() == 6);
  CHECK(other.kernel_size() == lora::HeightWidth(2, 5));
  CHECK(other.options().groups == 2);
  CHECK(other.weight.value.shape() == Shape{6, 2, 2, 5});
  CHECK(other.named_parameters().size() == 1);
  CHECK(other.bias_value() == nullptr);
}

TEST_CASE("Conv2d's gradients match finite differences and add up", "[nn][conv2d][gradient]") {
  lora::PhiloxGenerator generator(3);
  lora::Conv2d<double> layer(4, 6, {3, 2}, generator, {.stride = 2, .padding = 1, .groups = 2});
  auto x = random_tensor<double>({2, 4, 5, 6}, 4);
  lora::Saved<double> saved;
  Tensor<double> dx;
  const auto c = random_tensor<double>(layer.forward(x, saved).shape(), 5);
  layer.backward(c, saved, &dx);
  const auto loss = [&] { return dot(layer.forward(x), c); };
  check_gradient(x, dx, loss);
  check_gradient(layer.weight.value, layer.weight.grad.dense(), loss);
  check_gradient(layer.bias.value, layer.bias.grad.dense(), loss);

  layer.backward(c, saved);
  const auto twice = [&] { return 2 * loss(); };
  check_gradient(layer.weight.value, layer.weight.grad.dense(), twice);
  check_gradient(layer.bias.value, layer.bias.grad.dense(), twice);
}

TEST_CASE("a frozen parameter of Conv2d gets no gradient", "[nn][conv2d]") {
  lora::PhiloxGenerator generator(3);
  lora::Conv2d<float> layer(2, 3, 3, generator);
  layer.weight.trainable = false;
  const auto x = random_tensor<float>({2, 2, 5, 5}, 4);
  lora::Saved<float> saved;
  layer.backward(layer.forward(x, saved), saved);
  CHECK(layer.weight.grad.empty());
  CHECK_FALSE(layer.bias.grad.empty());
}

TEST_CASE("Conv2d refuses what PyTorch refuses", "[nn][conv2d][errors]") {
  lora::PhiloxGenerator g(3);
  CHECK_THROWS_WITH(lora::Conv2d<float>(0, 4, 3, g), contains("in_channels is 0"));
  CHECK_THROWS_AS(lora::Conv2d<float>(4, -1, 3, g), lora::ValueError);
  CHECK_THROWS_AS(lora::Conv2d<float>(4, 6, 3, g, {.groups = 4}), lora::ValueError);
  CHECK_THROWS_WITH(lora::Conv2d<float>(6, 4, 3, g, {.groups = 4}), contains("groups is 4"));
  CHECK_THROWS_WITH(lora::Conv2d<float>(4, 4, {3, 0}, g), contains("kernel_size is (3, 0)"));
  CHECK_THROWS_WITH(lora::Conv2d<float>(4, 4, 3, g, {.stride = 0}), contains("stride is (0, 0)"));
}

TEST_CASE("a convolutional network learns with every kind of step", "[nn][conv2d]") {
  const auto train = [](auto&& step) {
    lora::PhiloxGenerator generator(3);
    lora::Sequential<float> net;
    net.add("image", lora::Reshape<float>({1, 8, 6}));
    net.add("conv1", lora::Conv2d<float>(1, 4, 3, generator, {.stride = 2, .padding = 1}));
    net.add("relu1", lora::ReLU<float>());
    net.add("conv2", lora::Conv2d<float>(4, 8, 3, generator, {.padding = 1, .groups = 2}));
    net.add("relu2", lora::ReLU<float>());
    net.add("flatten", lora::Flatten<float>());
    net.add("head", lora::Linear<float>(8 * 4 * 3, 3, generator));
    lora::Adam<float> adam(net.parameters(), {.lr = 1e-2});
    const auto x = random_tensor<float>({9, 48}, 6);
    const Tensor<std::int32_t> labels({9}, {0, 1, 2, 0, 1, 2, 0, 1, 2});
    lora::Saved<float> saved;
    Tensor<float> dlogits;
    double loss = 0;
    for (int i = 0; i < 30; ++i) {
      loss = lora::softmax_cross_entropy(net.forward(x, saved), labels, dlogits);
      step(net, adam, dlogits, saved);
    }
    return loss;
  };
  const double apart = train([](auto& net, auto& adam, const auto& dlogits, auto& saved) {
    net.backward(dlogits, saved);
    adam.step();
  });
  const double together = train([](auto& net, auto& adam, const auto& dlogits, auto& saved) {
    adam.backward_and_step(net, dlogits, saved);
  });
  CHECK(apart < 0.05);
  CHECK(together == Approx(apart).epsilon(0.05));
}
