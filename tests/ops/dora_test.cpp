// SPDX-License-Identifier: MIT
#include <lora/ops/dora.hpp>

#include <cmath>
#include <limits>

#include "support/tensors.hpp"

using namespace lora_test;
namespace ops = lora::ops;

namespace {

constexpr double kScale = 0.75;

struct Adapted {
  Tensor<float> w, a, b, magnitude;

  Adapted(index_t in, index_t out, index_t rank, std::uint64_t seed)
      : w(random_tensor<float>({out, in}, seed)),
        a(random_tensor<float>({rank, in}, seed + 1)),
        b(random_tensor<float>({out, rank}, seed + 2)),
        magnitude(random_tensor<float>({out}, seed + 3)) {}

  /// ‖W_o + s B_o A‖ by its definition.
  double norm(index_t o) const {
    double sum = 0;
    for (index_t k = 0; k < w.dim(1); ++k) {
      double element = double{w(o, k)};
      for (index_t r = 0; r < a.dim(0); ++r) element += kScale * double{b(o, r)} * double{a(r, k)};
      sum += element * element;
    }
    return std::sqrt(sum);
  }

  /// W_o becomes -s B_o A, rounded, and noise of this size.
  void cancel(index_t o, double noise, std::uint64_t seed) {
    const auto normal = random_tensor<float>({w.dim(1)}, seed);
    for (index_t k = 0; k < w.dim(1); ++k) {
      double product = 0;
      for (index_t r = 0; r < a.dim(0); ++r) product += double{b(o, r)} * double{a(r, k)};
      w(o, k) = static_cast<float>(-kScale * product + noise * double{normal[k]});
    }
  }
};

struct Gains {
  Tensor<float> u, wa, squares, norms, gains;

  explicit Gains(const Adapted& l) {
    ops::dora_linear(Tensor<float>({0, l.w.dim(1)}), l.a, l.w, u, wa, squares);
    ops::dora_gains(wa, 0, squares, l.a, l.b, l.w, l.magnitude, kScale, norms, gains);
  }
};

/// The largest relative error of the norms.
double norm_error(const Adapted& l, const Tensor<float>& norms) {
  double worst = 0;
  for (index_t o = 0; o < l.w.dim(0); ++o) {
    const double expected = l.norm(o);
    const double error = std::fabs(double{norms[o]} - expected) / expected;
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

}  // namespace

TEST_CASE("dora_linear's u has linear's bits, its sums those of whole numbers", "[dora]") {
  const ThreadCountGuard guard;
  std::uint64_t seed = 1;
  for (const index_t batch : {0, 1, 10, 65}) {
    for (const index_t out : {0, 1, 10, 33, 1001}) {
      for (const index_t in : {1, 10, 63, 300, 784}) {
        const index_t rank = static_cast<index_t>(seed / 10 % 7);
        INFO("B " << batch << ", O " << out << ", I " << in << ", R " << rank << ", seed " << seed);
        lora::set_num_threads(static_cast<int>(1 + seed / 10 % 3));
        const auto x = random_tensor<float>({batch, in}, seed);
        const auto w = random_integers<float>({out, in}, seed + 1);
        const auto a = random_integers<float>({rank, in}, seed + 2);
        Tensor<float> u, wa, squares, expected_u, expected_wa;
        ops::dora_linear(x, a, w, u, wa, squares);
        ops::linear<float>(x, w, nullptr, expected_u);
        ops::linear<float>(a, w, nullptr, expected_wa);
        CHECK(same_bits(u, expected_u));
        CHECK(same_bits(wa, expected_wa));
        REQUIRE(squares.shape() == Shape{out});
        for (index_t o = 0; o < out; ++o) {
          float sum = 0;
          for (index_t k = 0; k < in; ++k) sum += w(o, k) * w(o, k);
          REQUIRE(squares[o] == sum);
        }
        seed += 10;
      }
    }
  }
}

TEST_CASE("dora_linear's sums are those of double", "[dora]") {
  for (const index_t in : {1, 7, 100, 999, 1500, 9000}) {
    INFO("I " << in);
    const Adapted l(in, 13, 5, 3);
    const Gains g(l);
    for (index_t o = 0; o < 13; ++o) {
      double square = 0;
      for (index_t k = 0; k < in; ++k) square += double{l.w(o, k)} * double{l.w(o, k)};
      CHECK(std::fabs(double{g.squares[o]} - square) <= 5e-7 * square);
      for (index_t r = 0; r < 5; ++r) {
        double product = 0, length = 0;
        for (index_t k = 0; k < in; ++k) {
          product += double{l.a(r, k)} * double{l.w(o, k)};
          length += double{l.a(r, k)} * double{l.a(r, k)};
        }
        CHECK(std::fabs(double{g.wa(r, o)} - product) <= 2.5e-7 * std::sqrt(square * length));
      }
    }
  }
}

TEST_CASE("adapters one above the other do not see each other", "[dora]") {
  const auto x = random_tensor<float>({3, 70}, 1), w = random_tensor<float>({9, 70}, 2);
  const auto a = random_tensor<float>({7, 70}, 3), b = random_tensor<float>({9, 3}, 4);
  const auto m = random_tensor<float>({9}, 5);
  Tensor<float> second({3, 70}), u, wa, squares, norms, gains, own_wa, own_norms, own_gains;
  for (index_t i = 0; i < second.numel(); ++i) second[i] = a[2 * 70 + i];
  ops::dora_linear(x, a, w, u, wa, squares);
  ops::dora_gains(wa, 2, squares, second, b, w, m, kScale, norms, gains);
  ops::dora_linear(x, second, w, u, own_wa, squares);
  ops::dora_gains(own_wa, 0, squares, second, b, w, m, kScale, own_norms, own_gains);
  CHECK(same_bits(norms, own_norms));
  CHECK(same_bits(gains, own_gains));
}

TEST_CASE("dora_gains gives the norms of W + s B A, whatever the number of threads", "[dora]") {
  const ThreadCountGuard guard;
  std::uint64_t seed = 100;
  for (const index_t rank : {0, 1, 2, 3, 8, 17, 40}) {
    for (const auto& [out, in] :
         {std::pair<index_t, index_t>{1, 1}, {31, 10}, {65, 784}, {33, 1500}}) {
      INFO("O " << out << ", I " << in << ", R " << rank << ", seed " << seed);
      const Adapted l(in, out, rank, seed += 10);
      lora::set_num_threads(1);
      const Gains g(l);
      CHECK(norm_error(l, g.norms) <= 2e-6);
      for (index_t o = 0; o < out; ++o) REQUIRE(g.gains[o] == l.magnitude[o] / g.norms[o]);
      lora::set_num_threads(3);
      const Gains other(l);
      CHECK(same_bits(other.norms, g.norms));
      CHECK(same_bits(other.gains, g.gains));
    }
  }
}

TEST_CASE("norms stay exact where the update takes W away", "[dora]") {
  std::uint64_t seed = 1000;
  for (const index_t rank : {1, 2, 8, 16}) {
    for (const double noise : {1.0, 0.5, 0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-6}) {
      INFO("R " << rank << ", noise " << noise << ", seed " << seed);
      Adapted l(1000, 40, rank, seed += 100);
      for (index_t o = 0; o < 40; o += 3) {
        l.cancel(o, noise, seed + 10 + static_cast<std::uint64_t>(o));
      }
      CHECK(norm_error(l, Gains(l).norms) <= 1e-5);
    }
  }
}

TEST_CASE("norms stay exact where A's rows cancel, and in tiny rows", "[dora]") {
  Adapted parallel(300, 5, 2, 7);
  for (index_t k = 0; k < 300; ++k) parallel.a(1, k) = parallel.a(0, k) * (k % 2 ? 1 : 1 + 1e-6f);
  for (index_t o = 0; o < 5; ++o) {
    parallel.b(o, 1) = -parallel.b(o, 0);
    for (index_t k = 0; k < 300; ++k) parallel.w(o, k) = 0;
  }
  CHECK(norm_error(parallel, Gains(parallel).norms) <= 1e-5);

  Adapted tiny(300, 5, 1, 8);
  for (float& element : tiny.w.span()) element *= 1e-25f;
  for (float& element : tiny.b.span()) element *= 1e-25f;
  CHECK(norm_error(tiny, Gains(tiny).norms) <= 1e-5);
}

TEST_CASE("a row without a norm has gain 0 and magnitude gradient 0, a NaN stays one", "[dora]") {
  Adapted l(20, 6, 2, 9);
  for (index_t k = 0; k < 20; ++k) l.w(1, k) = 0;
  for (index_t r = 0; r < 2; ++r) l.b(1, r) = 0;
  l.w(4, 3) = std::numeric_limits<float>::quiet_NaN();
  const Gains g(l);
  CHECK(g.norms[1] == 0);
  CHECK(g.gains[1] == 0);
  CHECK(std::isnan(g.norms[4]));
  CHECK(std::isnan(g.gains[4]));
  CHECK(g.gains[5] == l.magnitude[5] / g.norms[5]);
  Tensor<float> dm;
  ops::dora_backward_magnitude(random_tensor<float>({6}, 1), g.norms, dm);
  CHECK(dm[1] == 0);
}

TEST_CASE("the gradient of the magnitude, alone and on top of another", "[dora]") {
  const Tensor<float> dgain({3}, {6, -1, 4}), norms({3}, {2, 4, 0});
  Tensor<float> dm;
  ops::dora_backward_magnitude(dgain, norms, dm);
  CHECK(same_bits(dm, Tensor<float>({3}, {3, -0.25f, 0})));
  ops::dora_backward_magnitude(dgain, norms, dm, true);
  CHECK(same_bits(dm, Tensor<float>({3}, {6, -0.5f, 0})));
}

TEST_CASE("a merged row is as long as its magnitude says", "[dora]") {
  const Adapted l(100, 21, 3, 11);
  const Gains g(l);
  Tensor<float> merged = l.w;
  ops::lora_merge(l.a, l.b, merged, kScale);
  ops::dora_scale_rows(g.gains, merged);
  for (index_t o = 0; o < 21; ++o) {
    double square = 0;
    for (index_t k = 0; k < 100; ++k) square += double{merged(o, k)} * double{merged(o, k)};
    const double magnitude = std::fabs(double{l.magnitude[o]});
    CHECK(std::fabs(std::sqrt(square) - magnitude) <= 2e-6 * magnitude);
  }
  Tensor<float> w({2, 2}, {1, 2, 3, 4});
  ops::dora_scale_rows(Tensor<float>({2}, {10, 0.5f}), w);
  CHECK(same_bits(w, Tensor<float>({2, 2}, {10, 20, 1.5f, 2})));
}

namespace {

struct Doubles {
  Tensor<double> x, w, a, b, magnitude;
};

/// y = (x (W + s B A)ᵀ) ∘ m / n, with the norms given or, where they are not, those of W + s B A.
Tensor<double> dora_by_definition(const Doubles& d, const Tensor<double>* norms) {
  Tensor<double> y({d.x.dim(0), d.w.dim(0)});
  for (index_t o = 0; o < d.w.dim(0); ++o) {
    Tensor<double> row({d.w.dim(1)});
    double square = 0;
    for (index_t k = 0; k < d.w.dim(1); ++k) {
      row[k] = d.w(o, k);
      for (index_t r = 0; r < d.a.dim(0); ++r) row[k] += kScale * d.b(o, r) * d.a(r, k);
      square += row[k] * row[k];
    }
    const double norm = norms ? (*norms)[o] : std::sqrt(square);
    for (index_t i = 0; i < d.x.dim(0); ++i) {
      for (index_t k = 0; k < d.w.dim(1); ++k) {
        y(i, o) += d.x(i, k) * row[k] * d.magnitude[o] / norm;
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("a DoRA layer made of these ops: its output and its gradients", "[dora][gradient]") {
  for (const index_t rank : {1, 3}) {
    INFO("R " << rank << ", seeds 21 to 26");
    Doubles d{random_tensor<double>({4, 9}, 21), random_tensor<double>({6, 9}, 22),
              random_tensor<double>({rank, 9}, 23), random_tensor<double>({6, rank}, 24),
              random_tensor<double>({6}, 25)};
    const auto dy = random_tensor<double>({4, 6}, 26);
    Tensor<double> u, wa, squares, norms, gains, h;
    ops::dora_linear(d.x, d.a, d.w, u, wa, squares);
    ops::dora_gains(wa, 0, squares, d.a, d.b, d.w, d.magnitude, kScale, norms, gains);
    ops::linear<double>(d.x, d.a, nullptr, h);
    ops::scale(h, kScale);

    Tensor<double> y({4, 6}), scaled_dy({4, 6}), dgain({6});
    for (index_t i = 0; i < 4; ++i) {
      for (index_t o = 0; o < 6; ++o) {
        double sum = u(i, o);
        for (index_t r = 0; r < rank; ++r) sum += h(i, r) * d.b(o, r);
        y(i, o) = gains[o] * sum;
        scaled_dy(i, o) = gains[o] * dy(i, o);
        dgain[o] += dy(i, o) * sum;
      }
    }
    CHECK(max_error(y, dora_by_definition(d, nullptr)) < 1e-12);

    Tensor<double> dh, dx, da, db, dm;
    ops::lora_linear_backward_input(scaled_dy, d.w, d.a, d.b, dh, &dx, kScale);
    ops::linear_backward_weight(dh, d.x, da);
    ops::linear_backward_weight(scaled_dy, h, db);
    ops::dora_backward_magnitude(dgain, norms, dm);
    const auto loss = [&] { return dot(dora_by_definition(d, &norms), dy); };
    check_gradient(d.x, dx, loss);
    check_gradient(d.a, da, loss);
    check_gradient(d.b, db, loss);
    check_gradient(d.magnitude, dm, loss);
  }
}

TEST_CASE("the ops of DoRA name what does not fit", "[dora][errors]") {
  const auto run_linear = [](Shape x, Shape a, Shape w) {
    Tensor<float> u, wa, squares;
    ops::dora_linear(Tensor<float>(x), Tensor<float>(a), Tensor<float>(w), u, wa, squares);
  };
  CHECK_THROWS_WITH(run_linear({2, 5}, {1, 4}, {3, 4}), contains("dora_linear: x is (2, 5)"));
  CHECK_THROWS_WITH(run_linear({2, 4}, {1, 5}, {3, 4}), contains("lora_A is (1, 5)"));

  const auto run_gains = [](Shape wa, index_t first, Shape squares, Shape magnitude) {
    Tensor<float> norms, gains;
    ops::dora_gains(Tensor<float>(wa), first, Tensor<float>(squares), Tensor<float>({2, 4}),
                    Tensor<float>({3, 2}), Tensor<float>({3, 4}), Tensor<float>(magnitude), 1.0,
                    norms, gains);
  };
  CHECK_NOTHROW(run_gains({4, 3}, 2, {3}, {3}));
  CHECK_THROWS_WITH(run_gains({4, 2}, 0, {3}, {3}), contains("dora_gains: wa is (4, 2)"));
  CHECK_THROWS_WITH(run_gains({4, 3}, 0, {2}, {3}), contains("squares is (2,)"));
  CHECK_THROWS_WITH(run_gains({4, 3}, 0, {3}, {4}), contains("magnitude is (4,)"));
  CHECK_THROWS_WITH(run_gains({4, 3}, 3, {3}, {3}),
                    "dora_gains: 2 rows from row 3 on, but wa is (4, 3) on cpu");
  CHECK_THROWS_AS(run_gains({4, 3}, -1, {3}, {3}), lora::ValueError);

  Tensor<float> dm({2}), w({3, 4});
  CHECK_THROWS_WITH(ops::dora_backward_magnitude(Tensor<float>({3}), Tensor<float>({4}), dm),
                    contains("dora_backward_magnitude: dgain is (3,)"));
  CHECK_THROWS_WITH(ops::dora_backward_magnitude(Tensor<float>({3}), Tensor<float>({3}), dm, true),
                    contains("dm is (2,)"));
  CHECK_THROWS_WITH(ops::dora_scale_rows(Tensor<float>({4}), w),
                    contains("dora_scale_rows: gains is (4,)"));
}
