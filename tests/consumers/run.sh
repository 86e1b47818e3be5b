#!/usr/bin/env bash
# Uses the library as other projects do, and runs the program that comes out.
#   run.sh KIND BUILD_DIR [COMPILER [BUILT_DIR]]
# KIND: add_subdirectory, fetch_content, find_package (from a prefix that was moved after the
# installation, with a space in its path), pkg_config, plain; cuda, which installs what is built in
# BUILT_DIR, and cuda_subdirectory link the kernels into a program that g++ compiles.
set -euo pipefail
kind=$1
build=$2
compiler=${3:-c++}
built=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
rm -rf "$build"
mkdir -p "$build"
build=$(cd "$build" && pwd)

with_cmake() {
  cmake -S "$here/$kind" -B "$build/out" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
    -DLORA_SOURCE="$source" --no-warn-unused-cli "$@" >/dev/null
  cmake --build "$build/out" >/dev/null
  "$build/out/consumer"
}

install_and_move() {
  cmake -S "$source" -B "$build/lora" -DCMAKE_CXX_COMPILER="$compiler" -DLORA_BUILD_TESTS=OFF \
    -DLORA_BUILD_EXAMPLES=OFF -DLORA_WITH_CUDA=OFF -DCMAKE_INSTALL_PREFIX="$build/prefix" >/dev/null
  cmake --install "$build/lora" >/dev/null
  mv "$build/prefix" "$build/another prefix"
}

case $kind in
  add_subdirectory | fetch_content) with_cmake -DLORA_WITH_CUDA=OFF ;;
  cuda_subdirectory) with_cmake -DLORA_WITH_CUDA=ON -DLORA_CUDA_ARCHITECTURES=80-virtual ;;
  cuda)
    cmake --install "$built" --prefix "$build/prefix" >/dev/null
    mv "$build/prefix" "$build/another prefix"
    with_cmake -DCMAKE_PREFIX_PATH="$build/another prefix"
    ;;
  find_package)
    install_and_move
    with_cmake -DCMAKE_PREFIX_PATH="$build/another prefix"
    ;;
  pkg_config)
    install_and_move
    folder=$(dirname "$(find "$build/another prefix" -name lora.pc)")
    eval "flags=($(PKG_CONFIG_PATH=$folder pkg-config --cflags --libs lora))"
    "$compiler" -std=c++20 "$here/main.cpp" "${flags[@]}" -o "$build/consumer"
    "$build/consumer"
    ;;
  plain)
    "$compiler" -std=c++20 -O2 -Wall -Wextra -Werror -I"$source/include" "$here/main.cpp" -pthread \
      -o "$build/consumer"
    "$build/consumer"
    ;;
  *)
    echo "unknown kind: $kind" >&2
    exit 2
    ;;
esac
