#include "cuda/fiber.h"

#if defined(GNNKIT_SWITCHES_STACKS)
// System V calling convention: these registers survive a call, so a switch is a call that returns elsewhere. The
// library's swapcontext also saves the signal mask, by a system call that costs a hundred times as much.
extern "C" void gnnkit_switch_stack(void** save, void* load);
asm(R"(
.text
.hidden gnnkit_switch_stack
.globl gnnkit_switch_stack
.type gnnkit_switch_stack, @function
gnnkit_switch_stack:
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
.size gnnkit_switch_stack, .-gnnkit_switch_stack
)");
#endif

namespace gnnkit::emulation {

void prepare(Context& context, const Stack& stack, void (*entry)()) {
  context.bottom = stack.bottom();
  context.size = Stack::kSize;
  context.fake_stack = nullptr;
#if defined(GNNKIT_SWITCHES_STACKS)
  constexpr int kSavedRegisters = 6;
  // As after a call: the address that `entry` would return to lies 8 bytes below a multiple of 16.
  auto* top = reinterpret_cast<void**>(stack.top()) - 1;
  top[0] = nullptr;
  top[-1] = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) top[-2 - i] = nullptr;
  context.stack_pointer = top - 1 - kSavedRegisters;
#else
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = stack.bottom();
  context.state.uc_stack.ss_size = Stack::kSize;
  context.state.uc_link = nullptr;
  makecontext(&context.state, entry, 0);
#endif
}

void switch_context(Context& from, Context& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(GNNKIT_SWITCHES_STACKS)
  gnnkit_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.state, &to.state);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void arrive([[maybe_unused]] Context& from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.size);
#endif
}

}  // namespace gnnkit::emulation
