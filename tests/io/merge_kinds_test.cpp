// SPDX-License-Identifier: MIT
#include <lora/io/merge_files.hpp>

#include <cmath>
#include <string>

#include "support/merge_model.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using Adapter = lora::AdapterFile<float>;

namespace {

// What merging makes of one weight.
Tensor<double> merged(const std::string& dtype, const Tensor<double>& w, const Adapter& adapter) {
  const TemporaryFolder folder;
  WeightFile base;
  base.add("a.weight", dtype, w);
  base.write(folder / "base.safetensors");
  lora::merge_adapter_files<float>(folder / "base.safetensors", adapter, folder / "out.safetensors",
                                   {.piece_bytes = 500});
  return lora::SafetensorsFile(folder / "out.safetensors").read_as<double>("a.weight");
}

// Half a unit in the last place of the stored type, and a little for the sums.
double tolerance(const std::string& dtype) {
  return dtype == "F64"   ? 1e-13
         : dtype == "F32" ? 0x1.01p-24
         : dtype == "F16" ? 0x1.02p-11
                          : 0x1.02p-8;
}

void check_close(const std::string& dtype, const Tensor<double>& x, const Tensor<double>& exact) {
  REQUIRE(x.shape() == exact.shape());
  for (index_t i = 0; i < x.numel(); ++i) {
    INFO("element " << i << " of " << x.shape().to_string());
    // Where W and its change cancel, what their sums lost counts for more.
    const double lost = dtype == "F64" || dtype == "F32" ? 1e-14 : 1e-6;
    REQUIRE(std::fabs(x[i] - exact[i]) <= tolerance(dtype) * std::fabs(exact[i]) + lost);
  }
}

Tensor<double> as_stored(const std::string& dtype, const Tensor<double>& x) {
  Tensor<double> read(x.shape());
  lora::detail::convert_elements(dtype, std::span<const std::byte>(stored(dtype, x)), read.span());
  return read;
}

}  // namespace

TEST_CASE("kinds of layers, with DoRA and without, against their formulas", "[merge][dora]") {
  const std::string dtype = GENERATE("F64", "F32", "F16", "BF16");
  const bool is_dora = GENERATE(false, true);
  const std::string kind = GENERATE("linear", "fan_in_fan_out", "embedding", "convolution");
  INFO(kind << " in " << dtype << (is_dora ? " with DoRA" : ""));
  const bool is_turned = kind == "fan_in_fan_out" || kind == "embedding";
  Adapter adapter;
  adapter.config.fan_in_fan_out = kind == "fan_in_fan_out";
  lora::AdapterLayer<float>& layer = adapter.layers["a"];
  layer = random_layer(29, 54, 5, 0.7, 1);
  layer.embedding = kind == "embedding";
  if (is_dora) layer.magnitude = random_tensor<float>({29}, 3);
  Tensor<double> w = as_stored(dtype, random_tensor<double>({29, 54}, 4));
  Tensor<double> exact = sum(w, update_of(layer));
  if (is_dora) exact = with_lengths(exact, layer.magnitude);
  if (is_turned) {
    w = transposed(w);
    exact = transposed(exact);
  }
  if (kind == "convolution") {
    layer.lora_A.reshape({5, 3, 6, 3});
    layer.lora_B.reshape({29, 5, 1, 1});
    if (is_dora) layer.magnitude.reshape({1, 29, 1, 1});
    w.reshape({29, 3, 6, 3});
    exact.reshape({29, 3, 6, 3});
  }
  check_close(dtype, merged(dtype, w, adapter), exact);
}

TEST_CASE("with DoRA an output that is zero stays so", "[merge][dora]") {
  Adapter adapter;
  adapter.layers["a"] = random_layer(3, 4, 2, 1, 1);
  adapter.layers["a"].lora_B = Tensor<float>({3, 2}, {1, 1, 0, 0, 1, 1});
  adapter.layers["a"].magnitude = Tensor<float>({3}, {1, 2, 3});
  const auto x = merged("F32", Tensor<double>({3, 4}), adapter);
  for (index_t k = 0; k < 4; ++k) CHECK(x(1, k) == 0);
  CHECK(std::hypot(std::hypot(x(2, 0), x(2, 1)), std::hypot(x(2, 2), x(2, 3))) ==
        approx(3).epsilon(1e-6));
}

TEST_CASE("what is not finite in the base may stay so, and nothing else", "[merge][errors]") {
  const std::string dtype = GENERATE("F32", "F16", "BF16", "F64");
  INFO(dtype);
  Tensor<double> w = random_tensor<double>({20, 9}, 1);
  w(3, 4) = NAN;
  w(17, 0) = INFINITY;
  Adapter adapter;
  adapter.layers["a"] = random_layer(20, 9, 2, 1, 2);
  const auto x = merged(dtype, w, adapter);
  CHECK(std::isnan(x(3, 4)));
  CHECK(x(17, 0) == INFINITY);
  for (index_t i = 0; i < w.numel(); ++i) CHECK(std::isfinite(x[i]) == std::isfinite(w[i]));

  // The length of a row with a NaN is one too.
  adapter.layers["a"].magnitude = random_tensor<float>({20}, 3);
  CHECK_THROWS_WITH(merged(dtype, w, adapter), contains("a.weight would not be finite"));
}

TEST_CASE("a merge that overflows is refused", "[merge][errors]") {
  const auto [dtype, most] = GENERATE(table<std::string, double>(
      {{"F16", 65504.0}, {"BF16", 0x1.FEp127}, {"F32", 0x1.FFFFFEp127}}));
  INFO(dtype);
  const index_t columns = GENERATE(1, 64, 131);
  // A column in front, in the middle and at the end of a vector.
  for (const index_t column : {index_t{0}, columns / 2, columns - 1}) {
    Tensor<double> w({13, columns});
    w(11, column) = most;
    Adapter adapter;
    adapter.layers["a"].lora_A = Tensor<float>({1, columns});
    adapter.layers["a"].lora_B = Tensor<float>({13, 1});
    adapter.layers["a"].lora_A(0, column) = static_cast<float>(std::ldexp(1.0, std::ilogb(most)));
    // Just below and at a half of the last place of the largest number.
    const double half = 1 - most / std::ldexp(2.0, std::ilogb(most));
    adapter.layers["a"].scale = 1;
    adapter.layers["a"].lora_B[11] = static_cast<float>(half * 0.75);
    CHECK(merged(dtype, w, adapter)(11, column) == most);
    adapter.layers["a"].lora_B[11] = static_cast<float>(half);
    CHECK_THROWS_AS(merged(dtype, w, adapter), lora::FileError);
  }
}
