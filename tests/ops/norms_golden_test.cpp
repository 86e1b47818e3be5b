// SPDX-License-Identifier: MIT
#include <limits>
#include <string>

#include <lora/ops/gelu.hpp>
#include <lora/ops/layer_norm.hpp>
#include <lora/ops/rms_norm.hpp>
#include <lora/ops/silu.hpp>

#include "support/golden.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

TEST_CASE("layer_norm and rms_norm are PyTorch's", "[layer_norm][rms_norm][golden]") {
  const lora::SafetensorsFile file = golden("norms");
  for (const std::string size : {"1", "7", "64", "130"}) {
    INFO("rows of " << size);
    const auto read = [&](const std::string& name) { return file.read<float>(name); };
    const auto x = read(size + ".x"), dy = read(size + ".dy"), weight = read(size + ".weight"),
               bias = read(size + ".bias");
    Tensor<float> y, mean, inv, dx, dweight, dbias;

    std::string op = "layer_norm." + size;
    ops::layer_norm(x, weight, &bias, y, mean, inv, 1e-2);
    ops::layer_norm_backward(dy, x, weight, mean, inv, &dx, &dweight, &dbias);
    CHECK(max_error(y, read(op + ".y")) < 1e-5);
    CHECK(max_error(dx, read(op + ".dx")) < 1e-5);
    CHECK(max_error(dweight, read(op + ".dweight")) < 1e-5);
    CHECK(max_error(dbias, read(op + ".dbias")) < 1e-5);

    op = "rms_norm." + size;
    ops::rms_norm(x, weight, y, inv, std::numeric_limits<float>::epsilon());
    ops::rms_norm_backward(dy, x, weight, inv, &dx, &dweight);
    CHECK(max_error(y, read(op + ".y")) < 1e-5);
    CHECK(max_error(dx, read(op + ".dx")) < 1e-5);
    CHECK(max_error(dweight, read(op + ".dweight")) < 1e-5);
  }
}

TEST_CASE("gelu and silu are PyTorch's", "[gelu][silu][golden]") {
  const lora::SafetensorsFile file = golden("norms");
  const auto x = file.read<float>("x"), dy = file.read<float>("dy");
  Tensor<float> y, dx;
  const auto check = [&](const std::string& op) {
    INFO(op);
    CHECK(max_error(y, file.read<float>(op + ".y")) < 1e-5);
    CHECK(max_error(dx, file.read<float>(op + ".dinput")) < 1e-5);
  };
  ops::gelu(x, y);
  ops::gelu_backward(x, dy, dx);
  check("gelu");
  ops::gelu(x, y, lora::GELUApproximation::tanh);
  ops::gelu_backward(x, dy, dx, lora::GELUApproximation::tanh);
  check("gelu_tanh");
  ops::silu(x, y);
  ops::silu_backward(x, dy, dx);
  check("silu");
}
