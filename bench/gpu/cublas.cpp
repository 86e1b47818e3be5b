// SPDX-License-Identifier: MIT
#include "gpu/cublas.hpp"

#include "gpu/timing.hpp"

#if defined(LORA_BENCH_CUBLAS)
#include <cublas_v2.h>
#endif

namespace lora_bench::cublas {

using lora::index_t;
using lora::Tensor;

#if defined(LORA_BENCH_CUBLAS)

namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw lora::DeviceError(std::string(what) + ": " + cublasGetStatusString(status));
  }
}

/// One handle for all. It gets its own scratch memory, because a capture must not allocate.
class Handle {
 public:
  Handle() {
    check(cublasCreate(&handle_), "cublasCreate");
    check(cublasSetMathMode(handle_, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
    workspace_.resize({kWorkspaceBytes}, lora::Device::cuda);
    // Streams that do not wait for the default stream may use it from now on.
    lora::synchronize();
  }

  cublasHandle_t in_current_stream() {
    // A new stream takes the workspace away.
    check(cublasSetStream(handle_, current_stream()), "cublasSetStream");
    check(cublasSetWorkspace(handle_, workspace_.data(), kWorkspaceBytes), "cublasSetWorkspace");
    return handle_;
  }

 private:
  static constexpr index_t kWorkspaceBytes = index_t{64} << 20;

  cublasHandle_t handle_ = nullptr;
  Tensor<std::uint8_t> workspace_;
};

/// Row-major C (m, n) = A B, each operand as it lies or transposed. cuBLAS is column-major, so it
/// computes Cᵀ = Bᵀ Aᵀ.
void sgemm(cublasOperation_t of_a, cublasOperation_t of_b, index_t m, index_t n, index_t k,
           const Tensor<float>& a, const Tensor<float>& b, Tensor<float>& c) {
  // Never destroyed: at the end of the program the driver may be gone before it.
  static Handle& handle = *new Handle;
  const float one = 1;
  const float zero = 0;
  check(
      cublasSgemm(handle.in_current_stream(), of_b, of_a, static_cast<int>(n), static_cast<int>(m),
                  static_cast<int>(k), &one, b.data(), static_cast<int>(b.dim(1)), a.data(),
                  static_cast<int>(a.dim(1)), &zero, c.data(), static_cast<int>(n)),
      "cublasSgemm");
}

}  // namespace

bool is_there() { return true; }

void linear(const Tensor<float>& x, const Tensor<float>& w, Tensor<float>& y) {
  y.resize({x.dim(0), w.dim(0)}, x.device());
  sgemm(CUBLAS_OP_N, CUBLAS_OP_T, x.dim(0), w.dim(0), w.dim(1), x, w, y);
}

void linear_backward_input(const Tensor<float>& dy, const Tensor<float>& w, Tensor<float>& dx) {
  dx.resize({dy.dim(0), w.dim(1)}, dy.device());
  sgemm(CUBLAS_OP_N, CUBLAS_OP_N, dy.dim(0), w.dim(1), w.dim(0), dy, w, dx);
}

void linear_backward_weight(const Tensor<float>& dy, const Tensor<float>& x, Tensor<float>& dw) {
  dw.resize({dy.dim(1), x.dim(1)}, dy.device());
  sgemm(CUBLAS_OP_T, CUBLAS_OP_N, dy.dim(1), x.dim(1), dy.dim(0), dy, x, dw);
}

#else

bool is_there() { return false; }
void linear(const Tensor<float>&, const Tensor<float>&, Tensor<float>&) {}
void linear_backward_input(const Tensor<float>&, const Tensor<float>&, Tensor<float>&) {}
void linear_backward_weight(const Tensor<float>&, const Tensor<float>&, Tensor<float>&) {}

#endif

}  // namespace lora_bench::cublas
