// SPDX-License-Identifier: MIT
#include "kernels/cublas.hpp"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <string_view>

#include "kernels/runtime.hpp"

namespace lora::inline v0::cuda {

namespace {

// The few functions of cuBLAS's C interface that are used. Its enumerations are ints: an operand as
// it is has code 0, a transposed one 1, and so has success 0.
using Handle = void*;
struct Cublas {
  int (*create)(Handle*);
  int (*set_stream)(Handle, cudaStream_t);
  int (*sgemm)(Handle, int operation_a, int operation_b, int m, int n, int k, const float* alpha,
               const float* a, int lda, const float* b, int ldb, const float* beta, float* c,
               int ldc);
  Handle handle;
};

template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

// Null where there is no cuBLAS to load.
Cublas* load() {
  static Cublas cublas{};
  for (const char* name : {"libcublas.so", "libcublas.so.13", "libcublas.so.12"}) {
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    if (find(library, "cublasCreate_v2", cublas.create) &&
        find(library, "cublasSetStream_v2", cublas.set_stream) &&
        find(library, "cublasSgemm_v2", cublas.sgemm) && cublas.create(&cublas.handle) == 0) {
      return &cublas;
    }
    dlclose(library);
  }
  return nullptr;
}

std::string_view wanted() {
  const char* const value = std::getenv("LORA_GEMM");
  return value != nullptr && *value != '\0' ? value : "own";
}

Cublas* loaded() {
  static Cublas* const cublas = wanted() == "cublas" ? load() : nullptr;
  return cublas;
}

}  // namespace

bool use_cublas() { return loaded() != nullptr; }

std::string reason_without_gemm() {
  const std::string name(wanted());
  if (name == "own" || name == "auto") return {};
  if (name != "cublas") return "LORA_GEMM=" + name + ": expected own, cublas or auto";
  return use_cublas() ? "" : "LORA_GEMM=cublas: libcublas.so cannot be loaded";
}

int cublas_product(CublasOperand a, CublasOperand b, std::int64_t terms, MatrixView<float> c,
                   bool accumulate, void* stream) {
  // A row-major matrix is the transposed column-major one: Cᵀ = Bᵀ Aᵀ.
  const float one = 1.0f;
  const float beta = accumulate ? 1.0f : 0.0f;
  const Cublas& cublas = *loaded();
  static std::mutex mutex;  // the handle has one stream at a time
  const std::lock_guard lock(mutex);
  int status = cublas.set_stream(cublas.handle, as_stream(stream));
  if (status == 0) {
    status =
        cublas.sgemm(cublas.handle, b.transposed, a.transposed, static_cast<int>(c.cols),
                     static_cast<int>(c.rows), static_cast<int>(terms), &one, b.matrix.data,
                     static_cast<int>(b.matrix.stride), a.matrix.data,
                     static_cast<int>(a.matrix.stride), &beta, c.data, static_cast<int>(c.stride));
  }
  const cudaError_t error = cudaGetLastError();
  return static_cast<int>(status == 0 || error != cudaSuccess ? error : cudaErrorLaunchFailure);
}

}  // namespace lora::inline v0::cuda
