// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <type_traits>

#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/device.hpp>
#include <lora/error.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0::detail {

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
      throw DeviceError(std::string(op) + " on cuda: " + table.error_text(code));
    }
  } else {
    throw DeviceError(std::string(op) + ": the CUDA kernels take float, not double");
  }
}

/// "relu: x is (2, 3) on cpu, y is (2, 4) on cpu: <rule>" as the error of type E.
template <class E, class X, class Y>
[[noreturn]] void throw_mismatch(const char* op, const char* x_name, const X& x, const char* y_name,
                                 const Y& y, const char* rule) {
  throw E(std::string(op) + ": " + x_name + " is " + describe(x) + ", " + y_name + " is " +
          describe(y) + ": " + rule);
}

template <class X, class Y>
void require_same_device(const char* op, const char* x_name, const X& x, const char* y_name,
                         const Y& y) {
  if (x.device() != y.device()) {
    throw_mismatch<DeviceError>(op, x_name, x, y_name, y, "both must be on one device");
  }
}

template <class X, class Y>
void require_same_shape(const char* op, const char* x_name, const X& x, const char* y_name,
                        const Y& y) {
  require_same_device(op, x_name, x, y_name, y);
  if (x.shape() != y.shape()) {
    throw_mismatch<ShapeError>(op, x_name, x, y_name, y, "the shapes must be equal");
  }
}

/// Size `i` of x must be size `j` of y; both tensors of rank 2 unless they are vectors by nature.
template <class X, class Y>
void require_equal_dims(const char* op, const char* x_name, const X& x, int i, const char* y_name,
                        const Y& y, int j) {
  require_same_device(op, x_name, x, y_name, y);
  if (x.shape().rank() <= i || y.shape().rank() <= j || x.dim(i) != y.dim(j)) {
    const std::string rule = "size " + std::to_string(i) + " of " + x_name + " must equal size " +
                             std::to_string(j) + " of " + y_name;
    throw_mismatch<ShapeError>(op, x_name, x, y_name, y, rule.c_str());
  }
}

}  // namespace lora::inline v0::detail
