// SPDX-License-Identifier: MIT
#include <lora/optim/clip_grad_norm.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/golden.hpp"
#include "support/models.hpp"

using namespace lora_test;
using lora::clip_grad_norm;
using lora::Parameter;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
Parameter<T> with_gradient(const Tensor<T>& gradient) {
  Parameter<T> parameter(Tensor<T>(gradient.shape()));
  parameter.grad.accumulate(gradient);
  return parameter;
}

template <class T>
double norm_of(const std::vector<Tensor<T>>& tensors) {
  double sum = 0;
  for (const Tensor<T>& x : tensors) {
    for (const T element : x.span()) sum += double{element} * double{element};
  }
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("clip_grad_norm does what PyTorch does", "[optim][clip]") {
  const lora::SafetensorsFile file = golden("optim");
  for (const std::string name : {"clip.clipped.", "clip.kept."}) {
    INFO(name);
    std::vector<Parameter<double>> parameters;
    for (const char* i : {"0", "1", "2"}) {
      parameters.push_back(with_gradient(file.read<double>(name + "grad." + i)));
    }
    const double norm = clip_grad_norm<double>({&parameters[0], &parameters[1], &parameters[2]},
                                               file.read<double>(name + "max_norm")[0]);
    CHECK(norm == approx(file.read<double>(name + "norm")[0]).epsilon(1e-13));
    for (std::size_t i = 0; i < 3; ++i) {
      const auto expected = file.read<double>(name + "result." + std::to_string(i));
      CHECK(max_error(parameters[i].grad.dense(), expected) < 1e-13);
    }
  }
}

TEMPLATE_TEST_CASE("clip_grad_norm leaves factors factored and changes no direction",
                   "[optim][clip]", float, double) {
  const double tolerance = sizeof(TestType) == 4 ? 1e-6 : 1e-12;
  for (const index_t batch : {1, 2, 10, 11, 30}) {
    auto net = small_net<TestType>(1, 101, 83, 5);
    lora::Saved<TestType> saved;
    const auto x = random_tensor<TestType>({batch, 101}, 2);
    const auto dy = random_tensor<TestType>({batch, 5}, 3);
    const auto backward = [&] {
      net.forward(x, saved);
      net.backward(dy, saved);
    };
    backward();
    std::vector<Tensor<TestType>> expected;
    for (auto* parameter : net.parameters()) {
      expected.push_back(parameter->grad.dense());
      parameter->grad.clear();
    }
    backward();
    const bool was_factored = net.parameters()[0]->grad.is_factored();
    const double norm = clip_grad_norm(net.parameters(), 0.5);
    INFO("batch " << batch << ", seeds 1 to 3, norm " << norm);
    CHECK(was_factored);
    // Of 30 rows, forming the product is cheaper.
    CHECK(net.parameters()[0]->grad.is_factored() == (batch <= 11));
    CHECK(norm == approx(norm_of(expected)).epsilon(tolerance));
    std::vector<Tensor<TestType>> found;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      lora::ops::scale(expected[i], 0.5 / (norm + 1e-6));
      found.push_back(net.parameters()[i]->grad.dense());
      CHECK(max_error(found[i], expected[i]) < tolerance);
    }
    CHECK(norm_of(found) == approx(0.5).epsilon(1e-5));
  }
}

TEST_CASE("clip_grad_norm changes no bit of what is short enough", "[optim][clip]") {
  const Tensor<float> gradient = random_tensor<float>({33}, 1);
  Parameter<float> parameter = with_gradient(gradient);
  const double norm = norm_of<float>({gradient});
  CHECK(clip_grad_norm<float>({&parameter}, norm + 0.01) == approx(norm).epsilon(1e-13));
  CHECK(clip_grad_norm<float>({&parameter}, kInfinity) == approx(norm).epsilon(1e-13));
  CHECK(same_bits(parameter.grad.dense(), gradient));
  clip_grad_norm<float>({&parameter}, 0);
  CHECK(norm_of<float>({parameter.grad.dense()}) == 0);
}

TEST_CASE("clip_grad_norm looks at what is trained and has a gradient", "[optim][clip]") {
  const Tensor<double> gradient({2}, {3, 4});
  Parameter<double> trained = with_gradient(gradient), frozen = trained, idle(gradient);
  frozen.trainable = false;
  CHECK(clip_grad_norm<double>({&frozen, &trained, &idle}, 1) == 5);
  CHECK(max_error(trained.grad.dense(), Tensor<double>({2}, {0.6, 0.8})) < 1e-6);
  CHECK(same_bits(frozen.grad.dense(), gradient));
  CHECK(idle.grad.empty());
  CHECK(clip_grad_norm<double>({&frozen, &idle}, 1) == 0);
}

TEST_CASE("clip_grad_norm of a norm that is not finite clips nothing", "[optim][clip][errors]") {
  for (const double bad : {kInfinity, -kInfinity, double{NAN}}) {
    INFO("an element is " << bad);
    const Tensor<double> gradient({3}, {1, bad, 2});
    Parameter<double> parameter = with_gradient(gradient);
    CHECK_FALSE(std::isfinite(clip_grad_norm<double>({&parameter}, 1)));
    CHECK(same_bits(parameter.grad.dense(), gradient));
    CHECK_THROWS_WITH(clip_grad_norm<double>({&parameter}, 1, true),
                      contains("clip_grad_norm: the norm of the gradients is") &&
                          contains("expected a finite one"));
    CHECK(same_bits(parameter.grad.dense(), gradient));
  }
  for (const double max_norm : {-1.0, double{NAN}}) {
    CHECK_THROWS_WITH(clip_grad_norm<float>({}, max_norm),
                      contains("clip_grad_norm: max_norm is") && contains("expected at least 0"));
  }
}
