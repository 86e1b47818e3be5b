// SPDX-License-Identifier: MIT
#include "fiber.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "sanitizers.hpp"

#if defined(__x86_64__) && !defined(LORA_EMU_UCONTEXT)
#define LORA_EMU_OWN_SWITCH 1

// Saves what the calling convention says a function keeps, and swaps the stacks.
extern "C" void lora_emu_switch_stack(void** save, void* load);
asm(R"(
.text
.globl lora_emu_switch_stack
.type lora_emu_switch_stack,@function
lora_emu_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lora_emu_switch_stack,.-lora_emu_switch_stack
)");

#else
#define LORA_EMU_OWN_SWITCH 0

#include <ucontext.h>

#endif

namespace lora_emu {

namespace {

std::size_t stack_bytes() {
  // Sanitizers put red zones around every local variable.
  return kThreadSanitizer || kAddressSanitizer ? 256 * 1024 : 64 * 1024;
}

#if !LORA_EMU_OWN_SWITCH
ucontext_t& context_of(Fiber& fiber) {
  if (!fiber.stack_pointer) fiber.stack_pointer = new ucontext_t;
  return *static_cast<ucontext_t*>(fiber.stack_pointer);
}
#endif

}  // namespace

void prepare_fiber(Fiber& fiber, void (*entry)()) {
#if LORA_EMU_OWN_SWITCH
  constexpr int kSavedRegisters = 6;
  void** top = reinterpret_cast<void**>(fiber.stack + fiber.stack_bytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  ucontext_t& context = context_of(fiber);
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = fiber.stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
#endif
}

void switch_fiber(Fiber& from, Fiber& to, bool leaving_for_good) {
  // 1: the switch itself orders nothing between the two.
  if (kThreadSanitizer) __tsan_switch_to_fiber(to.thread_sanitizer, 1);
  if (kAddressSanitizer) {
    __sanitizer_start_switch_fiber(leaving_for_good ? nullptr : &from.fake_stack, to.stack,
                                   to.stack_bytes);
  }
#if LORA_EMU_OWN_SWITCH
  lora_emu_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&context_of(from), &context_of(to));
#endif
  if (kAddressSanitizer) __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}

void enter_fiber() {
  if (kAddressSanitizer) __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}

namespace {

struct StackExtent {
  char* bottom = nullptr;
  std::size_t bytes = 0;
};

StackExtent stack_of_this_thread() {
  StackExtent extent;
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* bottom = nullptr;
  pthread_attr_getstack(&attributes, &bottom, &extent.bytes);
  pthread_attr_destroy(&attributes);
  extent.bottom = static_cast<char*>(bottom);
  return extent;
}

}  // namespace

void describe_main_fiber(Fiber& fiber) {
  if (kThreadSanitizer) fiber.thread_sanitizer = __tsan_get_current_fiber();
  if (!kAddressSanitizer) return;
  // Asking costs as much as reading a file.
  static thread_local const StackExtent extent = stack_of_this_thread();
  fiber.stack = extent.bottom;
  fiber.stack_bytes = extent.bytes;
}

Fiber& FiberPool::take() {
  if (free_.empty()) return make();
  Fiber& fiber = *free_.back();
  free_.pop_back();
  return fiber;
}

void FiberPool::prepare(std::size_t count) {
  while (free_.size() < count) free_.push_back(&make());
}

Fiber& FiberPool::make() {
  constexpr std::size_t kMostOfThreadSanitizer = 8000;
  if (kThreadSanitizer && created_ == kMostOfThreadSanitizer) {
    std::fputs("ThreadSanitizer has no room for more than 8000 CUDA threads alive\n", stderr);
    std::abort();
  }
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t bytes = stack_bytes();
  void* const memory = mmap(nullptr, page + bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // A stack that grows too far ends the program instead of the neighbour's data.
  mprotect(memory, page, PROT_NONE);
  auto* const fiber = new Fiber;
  fiber->stack = static_cast<char*>(memory) + page;
  // Stacks that all end at the same place of a page would compete for the same few cache lines.
  constexpr std::size_t kStep = 192;
  constexpr std::size_t kSteps = 61;
  fiber->stack_bytes = bytes - created_++ % kSteps * kStep;
  if (kThreadSanitizer) fiber->thread_sanitizer = __tsan_create_fiber(0);
  return *fiber;
}

void FiberPool::give_back_abandoned(Fiber& fiber, void* sync) {
  unpoison(fiber.stack, fiber.stack_bytes);
  if (kThreadSanitizer) {
    void* const here = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber.thread_sanitizer, 1);
    release(sync);
    __tsan_switch_to_fiber(here, 1);
    __tsan_destroy_fiber(fiber.thread_sanitizer);
    fiber.thread_sanitizer = __tsan_create_fiber(0);
  }
  give_back(fiber);
}

}  // namespace lora_emu
