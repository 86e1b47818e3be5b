// SPDX-License-Identifier: MIT
#include <vector>

#include <lora/lora.hpp>
#include <lora/nn/lora_init.hpp>

#include "support/adapters.hpp"
#include "support/models.hpp"

// A batch of sequences (B, T, I) is the rows of its tokens: to the bit what (B T, I) gives.

using namespace lora_test;
using lora::LoRAConfig;

namespace {

constexpr index_t kSequences = 3, kTokens = 5, kIn = 7, kOut = 4;

template <class T>
Tensor<T> reshaped(Tensor<T> x, Shape shape) {
  REQUIRE(x.numel() == shape.numel());
  x.resize(shape);
  return x;
}

struct Pass {
  Tensor<float> y, dx;
  std::vector<Tensor<float>> values;
};

/// Forward, backward and an update of everything that learns, with the input in the given shape.
Pass run(const LoRAConfig* config, bool fused_update, Shape front,
         const std::vector<std::int32_t>* ids) {
  lora::Sequential<float> net = small_net<float>(1, kIn, 6, kOut);
  if (config) {
    lora::adapt(net, *config);
    randomize_adapter(net, "default", 2);
  }
  const Tensor<float> x =
      reshaped(random_tensor<float>({kSequences * kTokens, kIn}, 3), front.with_cols(kIn));
  const Tensor<float> dy =
      reshaped(random_tensor<float>({kSequences * kTokens, kOut}, 4), front.with_cols(kOut));
  std::optional<lora::ScopedAdapterIds<float>> scope;
  if (ids) scope.emplace(net, *ids);

  Pass pass;
  lora::Saved<float> saved;
  pass.y = net.forward(x, saved);
  lora::Adam<float> adam(net.parameters(), {.lr = 1e-2});
  if (fused_update) {
    adam.backward_and_step(net, dy, saved, &pass.dx);
  } else {
    net.backward(dy, saved, &pass.dx);
    adam.step();
  }
  for (const auto* parameter : net.parameters()) pass.values.push_back(parameter->value);
  return pass;
}

void check_equal(const Pass& sequences, const Pass& rows) {
  CHECK(sequences.y.shape() == Shape{kSequences, kTokens, kOut});
  CHECK(sequences.dx.shape() == Shape{kSequences, kTokens, kIn});
  CHECK(same_bits(reshaped(sequences.y, rows.y.shape()), rows.y));
  CHECK(same_bits(reshaped(sequences.dx, rows.dx.shape()), rows.dx));
  REQUIRE(sequences.values.size() == rows.values.size());
  for (std::size_t i = 0; i < rows.values.size(); ++i) {
    INFO("parameter " << i);
    CHECK(same_bits(sequences.values[i], rows.values[i]));
  }
}

}  // namespace

TEST_CASE("layers take sequences as the rows of their tokens", "[nn][sequence]") {
  const std::vector<LoRAConfig> configs = {
      {.r = 2}, {.r = 2, .lora_dropout = 0.5}, {.r = 2, .use_dora = true}};
  for (const bool fused_update : {false, true}) {
    INFO("fused update: " << fused_update);
    check_equal(run(nullptr, fused_update, {kSequences, kTokens, 1}, nullptr),
                run(nullptr, fused_update, {kSequences * kTokens, 1}, nullptr));
    for (std::size_t i = 0; i < configs.size(); ++i) {
      INFO("configuration " << i);
      check_equal(run(&configs[i], fused_update, {kSequences, kTokens, 1}, nullptr),
                  run(&configs[i], fused_update, {kSequences * kTokens, 1}, nullptr));
    }
  }
}

TEST_CASE("an adapter's id is that of a sequence", "[nn][sequence]") {
  const LoRAConfig config{.r = 2};
  const std::vector<std::int32_t> of_sequences = {-1, 0, -1};
  std::vector<std::int32_t> of_rows;
  for (const std::int32_t id : of_sequences) of_rows.insert(of_rows.end(), kTokens, id);
  check_equal(run(&config, false, {kSequences, kTokens, 1}, &of_sequences),
              run(&config, false, {kSequences * kTokens, 1}, &of_rows));
  CHECK_THROWS_WITH(run(&config, false, {kSequences, kTokens, 1}, &of_rows),
                    contains("the batch has 3 samples, there are adapter ids for 15"));
}

TEST_CASE("gradients of sequences accumulate", "[nn][sequence]") {
  lora::Sequential<float> twice = small_net<float>(1, kIn, 6, kOut);
  lora::Sequential<float> at_once = small_net<float>(1, kIn, 6, kOut);
  const Tensor<float> x = random_integers<float>({1, 2, kIn}, 5);
  const Tensor<float> dy = random_integers<float>({1, 2, kOut}, 6);
  lora::Saved<float> saved;
  for (int i = 0; i < 2; ++i) {
    twice.forward(x, saved);
    twice.backward(dy, saved);
  }
  Tensor<float> both_x({2, 2, kIn}), both_dy({2, 2, kOut});
  for (index_t i = 0; i < both_x.numel(); ++i) both_x[i] = x[i % x.numel()];
  for (index_t i = 0; i < both_dy.numel(); ++i) both_dy[i] = dy[i % dy.numel()];
  at_once.forward(both_x, saved);
  at_once.backward(both_dy, saved);
  const auto expected = at_once.parameters();
  const auto parameters = twice.parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO("parameter " << i);
    CHECK(max_error(parameters[i]->grad.dense(), expected[i]->grad.dense()) < 1e-6);
  }
}

TEST_CASE("the loss of sequences is that of their tokens", "[nn][sequence]") {
  const Tensor<float> logits = random_tensor<float>({2, 3, 4}, 7);
  const Tensor<std::int32_t> labels({2, 3}, {0, 1, 2, 3, 0, 1});
  Tensor<float> dlogits, dlogits_of_rows;
  const double loss = lora::softmax_cross_entropy(logits, labels, dlogits);
  CHECK(loss == lora::softmax_cross_entropy(reshaped(logits, {6, 4}), labels, dlogits_of_rows));
  CHECK(dlogits.shape() == logits.shape());
  CHECK(same_bits(reshaped(dlogits, {6, 4}), dlogits_of_rows));
  CHECK_THROWS_WITH(lora::softmax_cross_entropy(logits, Tensor<std::int32_t>({2}, {0, 1}), dlogits),
                    contains("there must be one label for each row"));
}
