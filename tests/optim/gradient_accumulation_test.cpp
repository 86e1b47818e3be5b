// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>
#include <utility>

#include <lora/optim/sgd.hpp>

#include "support/models.hpp"

using namespace lora_test;

namespace {

// Gradients of one batch, of its parts one after another, and the parameters after a step by each.
template <class MakeNet>
void check_parts(const MakeNet& make, index_t batch, index_t parts) {
  INFO("batch " << batch << " in " << parts << " parts, seeds 2 and 3");
  const auto x = random_tensor<double>({batch, 40}, 2);
  Tensor<std::int32_t> labels({batch});
  for (index_t i = 0; i < batch; ++i) labels[i] = static_cast<std::int32_t>(i * 7 % 20);

  lora::Sequential<double> whole = make(), apart = make();
  const auto backward = [](auto& net, const Tensor<double>& images,
                           const Tensor<std::int32_t>& of_images, index_t count) {
    lora::Saved<double> saved;
    Tensor<double> dlogits;
    const Tensor<double>& logits = net.forward(images, saved);
    lora::softmax_cross_entropy(logits, of_images, dlogits);
    lora::ops::scale(dlogits, 1.0 / static_cast<double>(count));
    net.backward(dlogits, saved);
  };
  backward(whole, x, labels, 1);
  const auto rows = static_cast<std::size_t>(batch / parts);
  for (std::size_t part = 0; part < static_cast<std::size_t>(parts); ++part) {
    const Tensor<double> some({batch / parts, 40}, x.span().subspan(part * rows * 40, rows * 40));
    const Tensor<std::int32_t> of_some({batch / parts}, labels.span().subspan(part * rows, rows));
    backward(apart, some, of_some, parts);
  }

  auto expected = whole.named_parameters(), found = apart.named_parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(expected[i].name);
    lora::Parameter<double>& parameter = *expected[i].parameter;
    CHECK(found[i].parameter->grad.empty() == !parameter.trainable);
    if (!parameter.trainable) continue;
    CHECK(max_error(found[i].parameter->grad.dense(), parameter.grad.dense()) < 1e-12);
  }
  lora::SGD<double>(whole.parameters(), {.lr = 0.1}).step();
  lora::SGD<double>(apart.parameters(), {.lr = 0.1}).step();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(expected[i].name);
    CHECK(max_error(found[i].parameter->value, expected[i].parameter->value) < 1e-12);
  }
}

}  // namespace

TEST_CASE("parts of a batch add up to the gradients and the step of all of it", "[optim]") {
  const auto linear = [] { return small_net<double>(1, 40, 30, 20); };
  const auto adapted = [] {
    lora::Sequential<double> net = small_net<double>(1, 40, 30, 20);
    lora::adapt(net, {.r = 3, .lora_alpha = 6});
    randomize_adapters<double>(net, 4);
    return net;
  };
  // The gradients of 6 rows are factors, those of 40 are not, and those of 20 become dense between.
  for (const auto& [batch, parts] : {std::pair<index_t, index_t>{6, 2}, {6, 6}, {40, 2}, {20, 4}}) {
    check_parts(linear, batch, parts);
    check_parts(adapted, batch, parts);
  }
}
