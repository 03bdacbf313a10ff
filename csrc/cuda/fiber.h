// Threads of execution that switch by hand, on one OS thread: what the emulation's CUDA threads are.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__) && !defined(GNNKIT_UCONTEXT)
#define GNNKIT_SWITCHES_STACKS
#else
#include <ucontext.h>
#endif

namespace gnnkit::emulation {

// A stack with an inaccessible page below it, so that overflow is a fault and not a corruption.
class Stack {
 public:
  Stack() {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    mapped_ = mmap(nullptr, kSize + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(mapped_, page, PROT_NONE);
    bottom_ = static_cast<char*>(mapped_) + page;
  }
  ~Stack() { munmap(mapped_, static_cast<uint64_t>(bottom_ - static_cast<char*>(mapped_)) + kSize); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  char* bottom() const { return bottom_; }
  char* top() const { return bottom_ + kSize; }

  // Frames that were left without a return keep AddressSanitizer's marks: the outermost one of every thread, and all
  // those of a thread that was given up.
  void forget_outermost_frame() const { forget(kOutermostFrame); }
  void forget_all_frames() const { forget(kSize); }

  static constexpr uint64_t kSize = 256 << 10;

 private:
  static constexpr uint64_t kOutermostFrame = 4 << 10;

  void forget([[maybe_unused]] uint64_t bytes) const {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(top() - bytes, bytes);
#endif
  }

  void* mapped_;
  char* bottom_;
};

// Where a thread of execution stands while another one runs.
struct Context {
#if defined(GNNKIT_SWITCHES_STACKS)
  void* stack_pointer = nullptr;
#else
  ucontext_t state;
#endif
  // What AddressSanitizer must know of the stack that this context runs on.
  const void* bottom = nullptr;
  uint64_t size = 0;
  void* fake_stack = nullptr;
};

// Makes `context` start `entry` on `stack` when it is switched to. `entry` must not return.
void prepare(Context& context, const Stack& stack, void (*entry)());

// Leaves `from` standing and goes on with `to`; returns when something switches back to `from`.
void switch_context(Context& from, Context& to);

// The first thing that code does on a stack it was switched to for the first time. `from` is where it came from.
void arrive(Context& from);

}  // namespace gnnkit::emulation
