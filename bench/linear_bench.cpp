// SPDX-License-Identifier: MIT
// y = x Wᵀ + b and its backward passes, beside OpenBLAS and Eigen.
#include "support.hpp"

#if defined(LORA_BENCH_EIGEN)
#include <Eigen/Core>
#endif

namespace {

using namespace lora_bench;

struct Layer {
  index_t rows, out, in;
  Tensor<float> x, w, b, dy, y, dx, dw;

  explicit Layer(const benchmark::State& state)
      : rows(state.range(0)),
        out(state.range(1)),
        in(state.range(2)),
        x(random({rows, in}, 1)),
        w(random({out, in}, 2)),
        b(random({out}, 3)),
        dy(random({rows, out}, 4)),
        y({rows, out}),
        dx({rows, in}),
        dw({out, in}) {
    use_threads();
  }

  double flops() const { return 2.0 * static_cast<double>(rows * out * in); }
  double bytes() const { return 4.0 * static_cast<double>(out * in + rows * (out + in)); }

  void check_forward(const char* name) const {
    require_close(name, y, std::sqrt(static_cast<double>(in)), [&](index_t i, index_t j) {
      double sum = b[j];
      for (index_t k = 0; k < in; ++k) sum += double{x(i, k)} * double{w(j, k)};
      return sum;
    });
  }
  void check_input(const char* name) const {
    require_close(name, dx, std::sqrt(static_cast<double>(out)), [&](index_t i, index_t k) {
      double sum = 0;
      for (index_t j = 0; j < out; ++j) sum += double{dy(i, j)} * double{w(j, k)};
      return sum;
    });
  }
  void check_weight(const char* name) const {
    require_close(name, dw, std::sqrt(static_cast<double>(rows)), [&](index_t j, index_t k) {
      double sum = 0;
      for (index_t i = 0; i < rows; ++i) sum += double{dy(i, j)} * double{x(i, k)};
      return sum;
    });
  }
};

// Runs and checks `compute` once, then times it.
template <class Compute, class Check>
void time(benchmark::State& state, Layer& layer, const Compute& compute, const Check& check) {
  compute();
  check();
  for (auto _ : state) {
    compute();
    benchmark::ClobberMemory();
  }
  report(state, layer.flops(), layer.bytes());
}

void linear(benchmark::State& state) {
  Layer l(state);
  time(
      state, l, [&] { lora::ops::linear(l.x, l.w, &l.b, l.y); },
      [&] { l.check_forward("linear"); });
}
BENCHMARK(linear)->Apply(layer_shapes);

void linear_backward_input(benchmark::State& state) {
  Layer l(state);
  time(
      state, l, [&] { lora::ops::linear_backward_input(l.dy, l.w, l.dx); },
      [&] { l.check_input("linear_backward_input"); });
}
BENCHMARK(linear_backward_input)->Apply(layer_shapes);

void linear_backward_weight(benchmark::State& state) {
  Layer l(state);
  time(
      state, l, [&] { lora::ops::linear_backward_weight(l.dy, l.x, l.dw); },
      [&] { l.check_weight("linear_backward_weight"); });
}
BENCHMARK(linear_backward_weight)->Apply(layer_shapes);

#if defined(LORA_BENCH_OPENBLAS)

void sgemm(CBLAS_TRANSPOSE transpose_a, CBLAS_TRANSPOSE transpose_b, index_t m, index_t n,
           index_t k, const Tensor<float>& a, const Tensor<float>& b, float beta,
           Tensor<float>& c) {
  cblas_sgemm(CblasRowMajor, transpose_a, transpose_b, static_cast<int>(m), static_cast<int>(n),
              static_cast<int>(k), 1.0f, a.data(), static_cast<int>(a.dim(1)), b.data(),
              static_cast<int>(b.dim(1)), beta, c.data(), static_cast<int>(c.dim(1)));
}

void openblas_linear(benchmark::State& state) {
  Layer l(state);
  time(
      state, l,
      [&] {
        for (index_t i = 0; i < l.rows; ++i) std::copy_n(l.b.data(), l.out, &l.y(i, 0));
        sgemm(CblasNoTrans, CblasTrans, l.rows, l.out, l.in, l.x, l.w, 1.0f, l.y);
      },
      [&] { l.check_forward("openblas_linear"); });
}
BENCHMARK(openblas_linear)->Apply(layer_shapes);

void openblas_linear_backward_input(benchmark::State& state) {
  Layer l(state);
  time(
      state, l,
      [&] { sgemm(CblasNoTrans, CblasNoTrans, l.rows, l.in, l.out, l.dy, l.w, 0.0f, l.dx); },
      [&] { l.check_input("openblas_linear_backward_input"); });
}
BENCHMARK(openblas_linear_backward_input)->Apply(layer_shapes);

void openblas_linear_backward_weight(benchmark::State& state) {
  Layer l(state);
  time(
      state, l,
      [&] { sgemm(CblasTrans, CblasNoTrans, l.out, l.in, l.rows, l.dy, l.x, 0.0f, l.dw); },
      [&] { l.check_weight("openblas_linear_backward_weight"); });
}
BENCHMARK(openblas_linear_backward_weight)->Apply(layer_shapes);

#endif

#if defined(LORA_BENCH_EIGEN)

using EigenMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

auto eigen(const Tensor<float>& x) {
  return Eigen::Map<const EigenMatrix>(x.data(), x.dim(0), x.dim(1));
}
auto eigen(Tensor<float>& x) { return Eigen::Map<EigenMatrix>(x.data(), x.dim(0), x.dim(1)); }

void eigen_linear(benchmark::State& state) {
  Layer l(state);
  const Eigen::Map<const Eigen::RowVectorXf> bias(l.b.data(), l.out);
  auto y = eigen(l.y);
  time(
      state, l,
      [&] {
        y.noalias() = eigen(std::as_const(l.x)) * eigen(std::as_const(l.w)).transpose();
        y.rowwise() += bias;
      },
      [&] { l.check_forward("eigen_linear"); });
}
BENCHMARK(eigen_linear)->Apply(layer_shapes);

void eigen_linear_backward_input(benchmark::State& state) {
  Layer l(state);
  auto dx = eigen(l.dx);
  time(
      state, l, [&] { dx.noalias() = eigen(std::as_const(l.dy)) * eigen(std::as_const(l.w)); },
      [&] { l.check_input("eigen_linear_backward_input"); });
}
BENCHMARK(eigen_linear_backward_input)->Apply(layer_shapes);

#endif

}  // namespace
