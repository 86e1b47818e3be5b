// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <type_traits>

#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/device.hpp>
#include <lora/error.hpp>
#include <lora/shape.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

[[noreturn]] LORA_NEVER_INLINE inline void throw_device_error(const char* op, const char* text) {
  throw DeviceError(std::string(op) + " on cuda: " + text);
}

/// Runs one op on views: `run(args...)` on the CPU, or the same arguments and a stream through
/// `slot` of the device library's table. An op of the two backends has the same name and arguments.
template <class T, class Cpu, class Slot, class... Args>
void dispatch(const char* op, Device device, Cpu run, Slot slot, const Args&... args) {
  if (device == Device::cpu) {
    cpu::isa();  // a wrong LORA_ISA is reported here, before the op's threads start
    run(args...);
  } else if constexpr (std::is_same_v<T, float>) {
    const Backend& table = backend();
    if (const int code = (table.*slot)(args..., current_stream); code != 0) {
      throw_device_error(op, table.error_text(code));
    }
  } else {
    throw DeviceError(std::string(op) + ": the CUDA kernels take float, not double");
  }
}

/// What a check looks at: not a template, so it is compiled once for all element types.
struct TensorFacts {
  const Shape& shape;
  Device device;

  template <class T>
  TensorFacts(const Tensor<T>& x) : shape(x.shape()), device(x.device()) {}
};

/// "relu: x is (2, 3) on cpu, y is (2, 4) on cpu: <rule>"
LORA_NEVER_INLINE inline std::string mismatch(const char* op, const char* x_name,
                                              const TensorFacts& x, const char* y_name,
                                              const TensorFacts& y, const std::string& rule) {
  return std::string(op) + ": " + x_name + " is " + describe(x.shape, x.device) + ", " + y_name +
         " is " + describe(y.shape, y.device) + ": " + rule;
}

/// Throws that as the error of type E.
template <class E>
[[noreturn]] LORA_NEVER_INLINE void throw_mismatch(const char* op, const char* x_name,
                                                   const TensorFacts& x, const char* y_name,
                                                   const TensorFacts& y, const std::string& rule) {
  throw E(mismatch(op, x_name, x, y_name, y, rule));
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_device_mismatch(const char* op, const char* x_name,
                                                                 const TensorFacts& x,
                                                                 const char* y_name,
                                                                 const TensorFacts& y) {
  throw_mismatch<DeviceError>(op, x_name, x, y_name, y, "both must be on one device");
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_shape_mismatch(const char* op, const char* x_name,
                                                                const TensorFacts& x,
                                                                const char* y_name,
                                                                const TensorFacts& y) {
  throw_mismatch<ShapeError>(op, x_name, x, y_name, y, "the shapes must be equal");
}

[[noreturn]] LORA_NEVER_INLINE inline void throw_dim_mismatch(const char* op, const char* x_name,
                                                              const TensorFacts& x, int i,
                                                              const char* y_name,
                                                              const TensorFacts& y, int j) {
  const auto size = [](const TensorFacts& tensor, int k, const char* name) {
    const std::string which = tensor.shape.rank() <= 2 ? "size " + std::to_string(k)
                              : k == 0                 ? "the number of rows"
                                                       : "the last size";
    return which + " of " + name;
  };
  throw_mismatch<ShapeError>(op, x_name, x, y_name, y,
                             size(x, i, x_name) + " must equal " + size(y, j, y_name));
}

inline void require_same_device(const char* op, const char* x_name, const TensorFacts& x,
                                const char* y_name, const TensorFacts& y) {
  if (x.device != y.device) throw_device_mismatch(op, x_name, x, y_name, y);
}

inline void require_same_shape(const char* op, const char* x_name, const TensorFacts& x,
                               const char* y_name, const TensorFacts& y) {
  require_same_device(op, x_name, x, y_name, y);
  if (x.shape != y.shape) throw_shape_mismatch(op, x_name, x, y_name, y);
}

/// Size 0 or 1 of a tensor as a matrix: its rows, its columns. A vector has its one size.
inline index_t matrix_size(const Shape& shape, int i) noexcept {
  if (shape.rank() < 2) return shape[i];
  return i == 0 ? shape.rows() : shape.cols();
}

/// Size `i` of x must be size `j` of y, both seen as matrices or vectors.
inline void require_equal_dims(const char* op, const char* x_name, const TensorFacts& x, int i,
                               const char* y_name, const TensorFacts& y, int j) {
  require_same_device(op, x_name, x, y_name, y);
  if (x.shape.rank() <= i || y.shape.rank() <= j ||
      matrix_size(x.shape, i) != matrix_size(y.shape, j)) {
    throw_dim_mismatch(op, x_name, x, i, y_name, y, j);
  }
}

}  // namespace lora::inline v0::detail
