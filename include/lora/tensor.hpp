// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <lora/detail/storage.hpp>
#include <lora/device.hpp>
#include <lora/error.hpp>
#include <lora/shape.hpp>
#include <lora/view.hpp>

namespace lora::inline v0 {

/// A dense row-major array that owns its memory on one device.
///
/// A value, as std::vector is: copying copies the elements, moving is cheap. T is float or double
/// for everything that is computed with; labels are std::int32_t, images std::uint8_t.
template <class T>
class Tensor {
  static_assert(std::is_arithmetic_v<T>, "Tensor holds numbers");

 public:
  using value_type = T;

  /// No elements: shape (0,), on the CPU.
  Tensor() = default;

  /// All elements zero.
  explicit Tensor(Shape shape, Device device = Device::cpu) : shape_(shape) {
    storage_ = detail::Storage(byte_count(), device);
    if (device == Device::cpu) {
      std::fill_n(data(), numel(), T{});
    } else {
      const std::vector<T> zeros(size());
      detail::copy_bytes(data(), device, zeros.data(), Device::cpu, byte_count());
    }
  }

  /// On the CPU, from row-major values. Throws ShapeError when their number is not the shape's.
  Tensor(Shape shape, std::span<const T> values) : shape_(shape) {
    if (values.size() != size()) {
      throw ShapeError("Tensor: shape " + shape.to_string() + " takes " + std::to_string(numel()) +
                       " values, got " + std::to_string(values.size()));
    }
    storage_ = detail::Storage(byte_count(), Device::cpu);
    std::copy(values.begin(), values.end(), data());
  }

  Tensor(Shape shape, std::initializer_list<T> values)
      : Tensor(shape, std::span<const T>(values.begin(), values.size())) {}

  Tensor(const Tensor& other) { *this = other; }

  Tensor& operator=(const Tensor& other) {
    if (this == &other) return *this;
    if (device() != other.device()) storage_ = detail::Storage(other.byte_count(), other.device());
    resize(other.shape_);
    detail::copy_bytes(data(), device(), other.data(), device(), byte_count());
    return *this;
  }

  /// The moved-from tensor is empty.
  Tensor(Tensor&& other) noexcept
      : shape_(std::exchange(other.shape_, Shape{0})), storage_(std::move(other.storage_)) {}

  Tensor& operator=(Tensor&& other) noexcept {
    shape_ = std::exchange(other.shape_, Shape{0});
    storage_ = std::move(other.storage_);
    return *this;
  }

  ~Tensor() = default;

  const Shape& shape() const noexcept { return shape_; }
  index_t dim(int i) const noexcept { return shape_[i]; }
  index_t rows() const noexcept { return shape_.rows(); }
  index_t cols() const noexcept { return shape_.cols(); }
  index_t numel() const noexcept { return shape_.numel(); }
  bool empty() const noexcept { return numel() == 0; }
  Device device() const noexcept { return storage_.device(); }

  /// The first element, or null. On Device::cuda an address that only kernels may follow.
  T* data() noexcept { return static_cast<T*>(storage_.data()); }
  const T* data() const noexcept { return static_cast<const T*>(storage_.data()); }

  /// Gives the tensor another shape. Memory is allocated only when it must grow, so a loop that
  /// repeats its shapes allocates nothing. The elements are unspecified afterwards.
  void resize(Shape shape) {
    const std::size_t bytes = static_cast<std::size_t>(shape.numel()) * sizeof(T);
    if (bytes > storage_.bytes()) storage_ = detail::Storage(bytes, device());
    shape_ = shape;
  }

  /// Gives the tensor another shape of as many elements, which stay as they are in row-major order.
  /// Throws ShapeError when their number is not the shape's.
  void reshape(Shape shape) {
    if (shape.numel() != numel()) {
      throw ShapeError("Tensor::reshape: " + shape_.to_string() + " has " +
                       std::to_string(numel()) + " elements, " + shape.to_string() + " has " +
                       std::to_string(shape.numel()));
    }
    shape_ = shape;
  }

  /// As resize(shape), on the given device.
  void resize(Shape shape, Device device) {
    if (device != this->device()) storage_ = detail::Storage(0, device);
    resize(shape);
  }

  /// A copy on `device`. Throws DeviceError, with the reason, when that device cannot be used.
  Tensor to(Device device) const {
    Tensor copy;
    copy.resize(shape_, device);
    detail::copy_bytes(copy.data(), device, data(), this->device(), byte_count());
    return copy;
  }

  /// The elements, in row-major order. On the CPU only.
  std::span<T> span() { return {host("span"), size()}; }
  std::span<const T> span() const { return {host("span"), size()}; }

  /// One element of a vector or a matrix. On the CPU only; subscripts are not checked.
  T& operator[](index_t i) { return data()[i]; }
  const T& operator[](index_t i) const { return data()[i]; }
  T& operator()(index_t i, index_t j) { return data()[i * shape_[1] + j]; }
  const T& operator()(index_t i, index_t j) const { return data()[i * shape_[1] + j]; }

  /// The tensor as a matrix, which ops on rows see: the last size is its columns, all in front
  /// together are its rows. Throws ShapeError on a scalar and on a vector.
  MatrixView<T> matrix() { return as_matrix(data()); }
  MatrixView<const T> matrix() const { return as_matrix(data()); }

  /// All elements in a row, whatever the rank.
  VectorView<T> vector() noexcept { return {data(), numel()}; }
  VectorView<const T> vector() const noexcept { return {data(), numel()}; }

 private:
  std::size_t size() const noexcept { return static_cast<std::size_t>(numel()); }
  std::size_t byte_count() const noexcept { return size() * sizeof(T); }

  T* host(const char* what) const {
    if (device() != Device::cpu) {
      throw DeviceError(std::string("Tensor::") + what + ": the tensor " + shape_.to_string() +
                        " is on cuda; copy it with to(Device::cpu) first");
    }
    return static_cast<T*>(storage_.data());
  }

  template <class U>
  MatrixView<U> as_matrix(U* data) const {
    if (shape_.rank() < 2) {
      throw ShapeError("Tensor::matrix: the tensor has shape " + shape_.to_string() +
                       ", a matrix has two sizes or more");
    }
    return {data, shape_.rows(), shape_.cols(), shape_.cols()};
  }

  Shape shape_{0};
  detail::Storage storage_;
};

/// "(10, 784) on cpu", for error messages.
inline std::string describe(const Shape& shape, Device device) {
  return shape.to_string() + " on " + to_string(device);
}

template <class T>
std::string describe(const Tensor<T>& x) {
  return describe(x.shape(), x.device());
}

}  // namespace lora::inline v0
