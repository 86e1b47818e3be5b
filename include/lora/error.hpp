// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>
#include <string>

namespace lora::inline v0 {

/// The root of everything this library throws. `what()` is one sentence that names the operation or
/// the file, what was expected and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Tensors whose shapes do not fit together.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// Tensors on different devices, or a device that cannot be used here.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// An argument outside its range: a rank of 0, a label beyond the classes, an unknown layer name.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// A file that cannot be read, cannot be written, or does not hold what it should.
class FileError : public Error {
 public:
  using Error::Error;
};

}  // namespace lora::inline v0
