// SPDX-License-Identifier: MIT
#include <lora/data/graph_trainer.hpp>

#include <numeric>

#include <lora/optim/adamw.hpp>

#include "kernels/support.hpp"
#include "support/models.hpp"

using namespace lora_test;

namespace {

lora::LabeledImages small_set(index_t count) {
  lora::LabeledImages set{Tensor<std::uint8_t>({count, 7}), Tensor<std::int32_t>({count})};
  for (index_t i = 0; i < set.images.numel(); ++i) {
    set.images[i] = static_cast<std::uint8_t>(i * 2654435761u >> 24);
  }
  for (index_t i = 0; i < count; ++i) set.labels[i] = static_cast<std::int32_t>(i % 4);
  return set;
}

// Two runs of pretraining, then one of adapters; the losses, and then the logits of the first rows.
template <class Optimizer, class Train>
std::vector<double> study(Device device, const Train& train) {
  lora::Sequential<float> net = small_net<float>(3);
  net.to(device);
  std::vector<double> results;
  Optimizer adam(net.parameters(), {.lr = 1e-2});
  train(net, adam, results);
  train(net, adam, results);
  lora::adapt(net, {.r = 2});
  auto groups = lora::loraplus_groups(net, 16);
  groups[0].weight_decay_ratio = 40;
  Optimizer adapters(groups, {.lr = 1e-3});
  train(net, adapters, results);
  const Tensor<float> logits =
      net.forward(random_tensor<float>({3, 7}, 5).to(device)).to(Device::cpu);
  for (const float logit : logits.span()) results.push_back(logit);
  return results;
}

}  // namespace

TEMPLATE_TEST_CASE("a graph of the training step trains as separate ops do", "[kernels][graph]",
                   lora::Adam<float>, lora::AdamW<float>) {
  const lora::LabeledImages set = small_set(23);
  constexpr index_t kBatch = 4;
  std::vector<index_t> order(23);
  std::iota(order.rbegin(), order.rend(), index_t{0});

  const auto with_graph = study<TestType>(Device::cuda, [&](auto& net, auto& adam, auto& results) {
    lora::GraphTrainer trainer(net, adam, set, kBatch);
    trainer.run(order, [&](double loss) { results.push_back(loss); });
  });
  const auto with_ops = study<TestType>(Device::cpu, [&](auto& net, auto& adam, auto& results) {
    lora::Saved<float> saved;
    Tensor<float> images, dlogits;
    for (index_t begin = 0; begin + kBatch <= 23; begin += kBatch) {
      const Tensor<index_t> rows({kBatch},
                                 std::span(order).subspan(static_cast<std::size_t>(begin), kBatch));
      Tensor<std::int32_t> labels({kBatch});
      for (index_t i = 0; i < kBatch; ++i) labels[i] = set.labels[rows[i]];
      lora::ops::normalize_rows(set.images, rows, images, 0.1307, 0.3081);
      const auto& logits = net.forward(images, saved);
      results.push_back(lora::softmax_cross_entropy(logits, labels, dlogits));
      adam.backward_and_step(net, dlogits, saved);
    }
  });
  REQUIRE(with_graph.size() == with_ops.size());
  CHECK(with_graph.size() == 3 * 5 + 3 * 4);
  for (std::size_t i = 0; i < with_ops.size(); ++i) {
    INFO("result " << i);
    CHECK(with_graph[i] == approx(with_ops[i]).epsilon(1e-4));
  }
}

TEST_CASE("an exception from a loss ends the training", "[kernels][graph][errors]") {
  const lora::LabeledImages set = small_set(20);
  lora::Sequential<float> net = small_net<float>(3);
  net.to(Device::cuda);
  lora::Adam<float> adam(net.parameters());
  lora::GraphTrainer trainer(net, adam, set, 2);
  std::vector<index_t> order(20);
  std::iota(order.begin(), order.end(), index_t{0});
  int seen = 0;
  CHECK_THROWS_AS(trainer.run(order,
                              [&](double) {
                                if (++seen == 3) throw lora::Error("enough");
                              }),
                  lora::Error);
  CHECK(seen == 3);
  trainer.run(order, [&](double) { ++seen; });
  CHECK(seen == 13);
}

TEST_CASE("a sample that does not exist is refused before anything runs",
          "[kernels][graph][errors]") {
  lora::Sequential<float> net = small_net<float>(3);
  net.to(Device::cuda);
  lora::Adam<float> adam(net.parameters());
  lora::GraphTrainer trainer(net, adam, small_set(20), 2);
  const std::vector<index_t> order{0, 20};
  CHECK_THROWS_WITH(trainer.run(order, [](double) {}), contains("sample 20 of 20 does not exist"));
  CHECK(adam.common_step() == 0);
}

TEST_CASE("an adapter with dropout is refused", "[kernels][graph][errors]") {
  lora::Sequential<float> net = small_net<float>(3);
  lora::adapt(net, {.r = 1, .lora_dropout = 0.1});
  net.to(Device::cuda);
  lora::Adam<float> adam(net.parameters());
  CHECK_THROWS_WITH(lora::GraphTrainer(net, adam, small_set(20), 2),
                    contains("\"default\" of linear1 has lora_dropout"));
}

TEST_CASE("a model with dropout is refused", "[kernels][graph][errors]") {
  lora::Sequential<float> net = small_net<float>(3);
  net.add("dropout", lora::Dropout<float>(0.5, 1));
  net.to(Device::cuda);
  lora::Adam<float> adam(net.parameters());
  CHECK_THROWS_WITH(lora::GraphTrainer(net, adam, small_set(20), 2),
                    contains("dropout is Dropout(p=0.5), and a captured step would drop the same"));
  net.eval();
  CHECK_NOTHROW(lora::GraphTrainer(net, adam, small_set(20), 2));
}
