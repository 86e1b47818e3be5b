#!/usr/bin/env bash
# Builds mnist_lora, installing what is missing, and runs it. Arguments are passed on to it.
# Without --data it takes MNIST from where it was kept before, else downloads it, else falls back to
# digits that the library draws itself.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/../.."

packages=(g++ cmake make zlib1g-dev libcli11-dev nlohmann-json3-dev libstb-dev)
case " $* " in *" --data fashion "* | *" --data=fashion "*) packages+=(dataset-fashion-mnist) ;; esac
cmake/install_packages.sh "${packages[@]}"

# The kernels are compiled where there is a GPU, and for that one alone.
cuda=(-DLORA_WITH_CUDA=OFF)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .) || true
if [[ $capability =~ ^[0-9]+$ ]]; then
  [ "$capability" -eq 90 ] && capability=90a
  cuda=(-DLORA_WITH_CUDA=AUTO "-DLORA_CUDA_ARCHITECTURES=$capability-real")
fi
cmake --preset release -DLORA_BUILD_TESTS=OFF "${cuda[@]}" -B build-run >/dev/null
cmake --build build-run --target mnist_lora --parallel "$(nproc)"
program=$PWD/build-run/examples/mnist_lora/mnist_lora
cd "$here"

case " $* " in
  *" --data "* | *" --data="* | *" --help "* | *" -h "*) ;;
  *)
    if ! "$program" --data-only --download; then
      echo "MNIST IS NOT AT HAND: the study runs on synthetic digits, drawn by the library." >&2
      set -- --data synthetic "$@"
    fi
    ;;
esac
exec "$program" "$@"
