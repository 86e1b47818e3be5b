// SPDX-License-Identifier: MIT
#include <algorithm>

#include <lora_emu/atomic.hpp>
#include <lora_emu/ptx.hpp>

#include "sanitizers.hpp"
#include "scheduler.hpp"

namespace lora_emu {

namespace {

Look* find_look(const void* flag) {
  auto& looks = self().looks;
  const auto found =
      std::find_if(looks.begin(), looks.end(), [&](const Look& l) { return l.flag == flag; });
  return found == looks.end() ? nullptr : &*found;
}

}  // namespace

void before_look(const void* flag, Location where) {
  const Look* const look = find_look(flag);
  yield(!look || look->news, where);
}

void after_look(const void* flag, std::uint32_t value) {
  const Unobserved unobserved;
  if (Look* const look = find_look(flag)) {
    *look = {flag, value, look->value != value};
  } else {
    self().looks.push_back({flag, value, true});
  }
}

void before_atomic(const void* address) {
  if (kThreadSanitizer && self().fenced) release(const_cast<void*>(address));
}

void after_atomic(const void* address, bool changed, Location where) {
  Thread& thread = self();
  if (kThreadSanitizer) {
    auto& addresses = thread.atomic_addresses;
    const bool known = std::any_of(addresses.begin(), addresses.end(),
                                   [&](const AtomicAddress& a) { return a.value == address; });
    const Unobserved unobserved;
    if (!known) addresses.push_back({address});
  }
  constexpr unsigned kAtomicsInARow = 8;
  if (++thread.atomics % kAtomicsInARow == 0 || !changed) yield(changed, where);
}

}  // namespace lora_emu
