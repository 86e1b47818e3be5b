// SPDX-License-Identifier: MIT
// Runs the tests, or says why there is no GPU to run them on and returns 77, which CTest takes as
// "skipped". Listing them needs no GPU.
#include <cstdio>
#include <string_view>

#include <lora/cuda.hpp>
#include <lora/device.hpp>

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char* argv[]) {
  constexpr int kSkipped = 77;
  bool lists = false;
  for (int i = 1; i < argc; ++i) lists |= std::string_view(argv[i]).substr(0, 6) == "--list";
  const std::string reason = lora::why_unavailable(lora::Device::cuda);
  if (!lists && !reason.empty()) {
    std::puts(reason.c_str());
    return kSkipped;
  }
  return Catch::Session().run(argc, argv);
}
