// SPDX-License-Identifier: MIT
#pragma once

#include <lora/detail/backend.hpp>
#include <lora/version.hpp>

// Including this header and linking lora::cuda is all that it takes to give Device::cuda its
// kernels. It names the compiled library by one function, which g++ and clang link as any other; no
// header of CUDA is needed.

namespace lora::inline v0::detail {

/// The version, as a part of a function's name.
template <int Major, int Minor, int Patch>
struct VersionTag {};

using HeaderVersion = VersionTag<LORA_VERSION_MAJOR, LORA_VERSION_MINOR, LORA_VERSION_PATCH>;

/// The table of the kernel library. Headers and a library of different versions do not link: the
/// linker names the version that it misses.
const Backend* cuda_backend_table(HeaderVersion) noexcept;

/// Its initialisation, once in a program or shared object, registers the table.
inline const bool cuda_is_linked = (cuda_backend = cuda_backend_table(HeaderVersion{})) != nullptr;

}  // namespace lora::inline v0::detail
