// SPDX-License-Identifier: MIT
#include <lora/nn/lora_init.hpp>
#include <lora/torch_generator.hpp>

#include <cmath>
#include <utility>

#include "support/host_backend.hpp"
#include "support/matrices.hpp"

using namespace lora_test;
namespace init = lora::init;
using lora::LoRAGADirection;
using lora::LoRAGAForm;
using lora::LoRAGAOptions;
using lora::LoRAGAScale;
using lora::LoRAInitialValues;

namespace {

template <class T>
Tensor<double> update(const LoRAInitialValues<T>& values, double scale = 1) {
  Tensor<double> w = product(values.b, values.a);
  for (double& value : w.span()) value *= scale;
  return w;
}

// ((7 i + 3 j) mod 11 - 5) / 4
Tensor<double> golden_matrix() {
  Tensor<double> w({5, 4});
  for (index_t i = 0; i < 5; ++i) {
    for (index_t j = 0; j < 4; ++j) w(i, j) = static_cast<double>((7 * i + 3 * j) % 11 - 5) / 4;
  }
  return w;
}

}  // namespace

TEMPLATE_TEST_CASE("orthogonal: neither is zero, and the product is", "[nn][lora][init]", float,
                   double) {
  for (const index_t r : {2, 4, 16}) {
    INFO("rank " << r);
    lora::PhiloxGenerator generator(4);
    const LoRAInitialValues<TestType> values = init::orthogonal<TestType>(300, 200, r, generator);
    REQUIRE(values.a.shape() == Shape{r, 300});
    REQUIRE(values.b.shape() == Shape{200, r});
    CHECK(largest(values.a) > 0.1);
    CHECK(largest(values.b) > 0.1);
    CHECK(largest(update(values)) < double{std::numeric_limits<TestType>::epsilon()});
  }
}

TEST_CASE("orthogonal with a TorchGenerator has PEFT's numbers", "[nn][lora][init][torch]") {
  // torch.manual_seed(0); q, _ = torch.linalg.qr(torch.randn(4, 4))
  // a = torch.randn(10, 2).mm(q[0::2]).T / 10; b = torch.randn(2, 6).T.mm(q[1::2]) / 10
  lora::TorchGenerator generator(0);
  const auto values = init::orthogonal<float>(10, 6, 4, generator);
  const auto near = [](float x, double expected) {
    return std::fabs(static_cast<double>(x) - expected) < 1e-6;
  };
  CHECK(near(values.a(0, 0), 0.06727535277605057));
  CHECK(near(values.a(0, 4), 0.00025652945623733103));
  CHECK(near(values.a(3, 1), 0.04501510411500931));
  CHECK(near(values.b(0, 0), -0.07388229668140411));
  CHECK(near(values.b(5, 2), -0.011954829096794128));
  CHECK(near(values.b(5, 3), -0.1095319390296936));
}

TEST_CASE("orthogonal takes even ranks", "[nn][lora][init]") {
  lora::PhiloxGenerator generator(4);
  CHECK_THROWS_WITH(init::orthogonal<float>(9, 9, 3, generator),
                    contains("orthogonal: the rank is 3, expected an even number"));
  CHECK_THROWS_AS(init::orthogonal<float>(9, 9, 0, generator), lora::ValueError);
}

TEST_CASE("olora projects W on its first r columns", "[nn][lora][init]") {
  for (const auto& [out, in] : {std::pair{30, 20}, {20, 30}, {10, 1000}}) {
    INFO("shape " << out << ", " << in);
    const auto w = random_tensor<double>({out, in}, 6);
    const LoRAInitialValues<double> values = init::olora(w, 7);
    REQUIRE(values.a.shape() == Shape{7, in});
    REQUIRE(values.b.shape() == Shape{out, 7});
    CHECK(orthonormality_error(values.b) < 1e-14);
    const Tensor<double> part = update(values);
    // The residual is orthogonal to B, and zero in the first seven columns.
    Tensor<double> residual = w;
    for (index_t i = 0; i < w.numel(); ++i) residual[i] -= part[i];
    CHECK(largest(product(transposed(values.b), residual)) < 1e-13);
    for (index_t i = 0; i < out; ++i) {
      for (index_t j = 0; j < 7; ++j) REQUIRE(std::fabs(residual(i, j)) < 1e-13);
    }
  }
}

TEST_CASE("olora has the numbers of torch.linalg.qr", "[nn][lora][init][torch]") {
  const LoRAInitialValues<double> values = init::olora(golden_matrix(), 2);
  CHECK(values.b(0, 0) == approx(-0.6509445549041195));
  CHECK(values.b(4, 1) == approx(-0.5273586709803185));
  CHECK(values.a(0, 3) == approx(0.0650944554904117));
  CHECK(values.a(1, 1) == approx(-1.839998157699888));
  CHECK(values.a(1, 0) == 0);
}

TEMPLATE_TEST_CASE("pissa: s B A is the best approximation of W", "[nn][lora][init]", float,
                   double) {
  std::vector<double> sigma(70);
  for (std::size_t i = 0; i < 70; ++i) sigma[i] = 3 / (1 + 0.1 * static_cast<double>(i));
  for (const auto& [out, in] : {std::pair{100, 70}, {70, 100}}) {
    const auto w = convert<TestType>(with_spectrum(out, in, sigma, 2));
    for (const index_t r : {1, 5, 70}) {
      INFO("shape " << out << ", " << in << ", rank " << r);
      const LoRAInitialValues<TestType> values = init::pissa(w, r, 2.5);
      REQUIRE(values.a.shape() == Shape{r, in});
      REQUIRE(values.b.shape() == Shape{out, r});
      double tail = 0;
      for (std::size_t i = static_cast<std::size_t>(r); i < 70; ++i) tail += sigma[i] * sigma[i];
      CHECK(std::fabs(distance(update(values, 2.5), w) - std::sqrt(tail)) < 1e-5);
      // Both take an equal share of each singular value.
      for (index_t k = 0; k < r; ++k) {
        double a = 0, b = 0;
        for (index_t i = 0; i < in; ++i) a += std::pow(static_cast<double>(values.a(k, i)), 2);
        for (index_t o = 0; o < out; ++o) b += std::pow(static_cast<double>(values.b(o, k)), 2);
        CHECK(a == approx(sigma[static_cast<std::size_t>(k)] / 2.5));
        CHECK(b == approx(a));
      }
    }
  }
}

TEST_CASE("pissa has PEFT's numbers, up to signs", "[nn][lora][init][torch]") {
  // u, s, vh = torch.linalg.svd(w); a = diag(sqrt(s / 1.5)) vh, b = u diag(sqrt(s / 1.5)), r = 2
  const LoRAInitialValues<double> values = init::pissa(golden_matrix(), 2, 1.5);
  const Tensor<double> a(
      {2, 4}, {0.6204231022564403, 0.8161898540537824, -0.6987986532909478, -0.26479387233471907,
               0.6857457559818424, -0.5235003792213709, -0.27672887775286903, 0.7234101627168052});
  const Tensor<double> b(
      {5, 2}, {-0.6722961847931379, 0.029160290191527466, 0.7681548454827192, -0.05155773372676531,
               -0.22373827228741627, -0.7309854140043909, -0.014583554718737455, 0.8889370310776404,
               0.7191735083140348, -0.12705817981126674});
  CHECK(max_error(values.a, a) < 1e-14);
  CHECK(max_error(values.b, b) < 1e-14);
}

TEST_CASE("pissa_niter comes near to pissa", "[nn][lora][init]") {
  const auto w = random_tensor<double>({90, 120}, 8);
  const double best = distance(update(init::pissa(w, 6, 0.5), 0.5), w);
  lora::PhiloxGenerator generator(2);
  const double once = distance(update(init::pissa_niter(w, 6, 0.5, 1, generator), 0.5), w);
  const double often = distance(update(init::pissa_niter(w, 6, 0.5, 16, generator), 0.5), w);
  CHECK(once < 1.03 * best);
  CHECK(often < 1.001 * best);
  CHECK(often > (1 - 1e-12) * best);
}

TEST_CASE("lora_ga has PEFT's numbers, up to signs", "[nn][lora][init][torch]") {
  // u, s, vh = torch.linalg.svd(gradient), r = 2. ArB2r: a = vh[:2], b = u[:, 2:4] diag(s[2:4]) f,
  // A2rBr: a = vh[2:4], b = u[:, :2] diag(s[:2]) f, ArBr: a = vh[1:4:2], b = u[:, 0:4:2]
  // diag(s[0:4:2]) f, with f = 5**0.25 / 16**0.5
  const auto check = [](LoRAGADirection direction, const Tensor<double>& row_of_a,
                        const Tensor<double>& column_of_b) {
    const auto values = init::lora_ga(golden_matrix(), 2, 1.0, {.direction = direction});
    for (index_t i = 0; i < 4; ++i) CHECK(values.a(0, i) == approx(row_of_a[i]));
    for (index_t o = 0; o < 5; ++o) CHECK(values.b(o, 1) == approx(column_of_b[o]));
  };
  check(LoRAGADirection::ArB2r,
        Tensor<double>({4}, {0.48903388811905035, 0.6433424163600255, -0.5508115690540134,
                             -0.20871752916193562}),
        Tensor<double>({5}, {0.05585983791450427, 0.12145768120094028, 0.07405291257593549,
                             0.058490379215695575, -0.05328683776040422}));
  check(LoRAGADirection::A2rBr,
        Tensor<double>({4}, {-0.6174491840122878, 0.2366188743693025, -0.48779304397001116,
                             0.5699350486759298}),
        Tensor<double>({5}, {0.018958227101153483, -0.03351966727329804, -0.47524175497925747,
                             0.5779321811650417, -0.08260541346125103}));
  check(LoRAGADirection::ArBr,
        Tensor<double>({4}, {0.5914676791131463, -0.45152821087399475, -0.23868348530094144,
                             0.6239538870734213}),
        Tensor<double>({5}, {0.41177749505952527, 0.13192482242618642, -0.2578911338654075,
                             -0.19507735117886593, 0.15984002197322852}));
}

TEST_CASE("lora_ga scales as asked, in PEFT's form and the paper's", "[nn][lora][init]") {
  const auto gradient = random_tensor<double>({81, 90}, 3);
  const auto make = [&](LoRAGAScale scale, LoRAGAForm form, double gamma = 16) {
    return init::lora_ga(gradient, 3, 4.0, {.scale = scale, .stable_gamma = gamma, .form = form});
  };
  const auto plain = make(LoRAGAScale::unit, LoRAGAForm::paper);
  CHECK(orthonormality_error(plain.b) < 1e-13);
  CHECK(orthonormality_error(transposed(plain.a)) < 1e-13);
  const lora::linalg::SVD<double> svd = lora::linalg::svd(gradient);
  const auto check = [&](const LoRAInitialValues<double>& values, double a, double b,
                         bool singular_values) {
    for (index_t k = 0; k < 3; ++k) {
      const double factor = singular_values ? b * svd.s[3 + k] : b;
      for (index_t i = 0; i < 90; ++i) {
        REQUIRE(values.a(k, i) == approx(a * plain.a(k, i)).margin(1e-12));
      }
      for (index_t o = 0; o < 81; ++o) {
        REQUIRE(values.b(o, k) == approx(factor * plain.b(o, k)).margin(1e-12));
      }
    }
  };
  // The fourth root of 81 is 3.
  check(make(LoRAGAScale::stable, LoRAGAForm::paper), 3.0 / 4, 3.0 / 4, false);
  check(make(LoRAGAScale::stable, LoRAGAForm::paper, 9), 1, 1, false);
  check(make(LoRAGAScale::gd, LoRAGAForm::paper), 1.0 / 4, 1.0 / 4, false);
  check(make(LoRAGAScale::stable, LoRAGAForm::peft), 1, 3.0 / 4, true);
  check(make(LoRAGAScale::gd, LoRAGAForm::peft), 1.0 / 4, 1.0 / 4, true);
  check(make(LoRAGAScale::unit, LoRAGAForm::peft), 1, 1, true);
}

TEST_CASE("a first step of lora_ga goes where the gradient points", "[nn][lora][init]") {
  // With dL/dA = s Bᵀ G and dL/dB = s G Aᵀ, a small step of A and B moves W by a multiple of
  // (B Bᵀ G + G Aᵀ A): in the paper's form the part of G of rank 2r, which nothing of that rank is
  // nearer to.
  const auto gradient = random_tensor<double>({40, 30}, 5);
  const auto values =
      init::lora_ga(gradient, 4, 1.0, {.scale = LoRAGAScale::unit, .form = LoRAGAForm::paper});
  const Tensor<double> left = product(values.b, product(transposed(values.b), gradient));
  const Tensor<double> right = product(product(gradient, transposed(values.a)), values.a);
  Tensor<double> moved = left;
  for (index_t i = 0; i < moved.numel(); ++i) moved[i] += right[i];
  const lora::linalg::SVD<double> svd = lora::linalg::svd(gradient);
  double tail = 0;
  for (index_t i = 8; i < 30; ++i) tail += svd.s[i] * svd.s[i];
  CHECK(distance(moved, gradient) == approx(std::sqrt(tail)));
}

TEST_CASE("initial values from a weight say what is wrong", "[nn][lora][init]") {
  const Tensor<float> w({10, 1000});
  lora::PhiloxGenerator generator(1);
  CHECK_THROWS_WITH(init::pissa(w, 11, 1.0), contains("pissa: the weight is (10, 1000) on cpu, the "
                                                      "rank is 11: expected 1 to 10"));
  CHECK_THROWS_WITH(init::lora_ga(w, 8, 1.0),
                    contains("lora_ga: the gradient is (10, 1000) on cpu, "
                             "the rank is 8: expected 1 to 5"));
  CHECK_THROWS_WITH(init::pissa(w, 1, 0.0), contains("the scale is 0.000000, expected a positive"));
  CHECK_THROWS_AS(init::olora(w, 0), lora::ValueError);
  CHECK_THROWS_AS(init::olora(Tensor<float>({4}), 1), lora::ShapeError);
  CHECK_THROWS_AS(init::pissa_niter(w, 11, 1.0, 2, generator), lora::ValueError);
  CHECK_THROWS_AS(init::pissa_niter(w, 1, 1.0, -2, generator), lora::ValueError);
  CHECK_THROWS_WITH(init::lora_ga(w, 1, 1.0, {.stable_gamma = 0}), contains("stable_gamma is 0"));
  const HostBackend device;
  CHECK_THROWS_WITH(init::pissa(Tensor<float>({2, 2}, lora::Device::cuda), 1, 1.0),
                    contains("pissa: the weight is (2, 2) on cuda, expected on cpu"));
}
