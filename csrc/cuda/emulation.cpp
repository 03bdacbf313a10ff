#include "cuda/emulation.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/fiber.h"

constinit thread_local uint3 threadIdx;
constinit thread_local uint3 blockIdx;
constinit thread_local dim3 blockDim;
constinit thread_local dim3 gridDim;

namespace gnnkit::emulation {

namespace {

constexpr int kLanes = 32;
constexpr uint64_t kMaxThreads = 1024;
constexpr uint64_t kMaxSharedBytes = 163 << 10;  // what a block may have on compute capability 8.0
constexpr uint64_t kMaxGridX = 0x7FFFFFFF;
constexpr uint64_t kMaxGridYZ = 65535;

uint64_t seed() {
  static const uint64_t value = [] {
    const char* text = std::getenv("GNNKIT_EMULATION_SEED");
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
  }();
  return value;
}

// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014).
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

template <typename T>
void permute(std::vector<T>& items, uint64_t& state) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[next_random(state) % i]);
}

enum class State { kReady, kAtBlockBarrier, kInWarp, kDone };

struct Fiber {
  Stack stack;
  Context context;
  uint3 index;
  int number = 0;
  State state = State::kReady;
  uint64_t payload = 0;
  int source = 0;
  uint64_t result = 0;
};

// Lanes that wait for one another.
struct Meeting {
  unsigned mask;
  unsigned arrived;
  Collective operation;
};

struct Warp {
  std::vector<Meeting> meetings;
  unsigned alive = 0;
};

struct SharedArray {
  const void* site;
  uint64_t bytes;
  std::unique_ptr<char[]> data;
};

std::string text(uint3 value) {
  std::string written = "(";
  for (const unsigned part : {value.x, value.y, value.z}) {
    if (written.size() > 1) written += ", ";
    written += std::to_string(part);
  }
  written += ")";
  return written;
}

uint3 unravel(uint64_t number, dim3 size) {
  return {static_cast<unsigned>(number % size.x), static_cast<unsigned>(number / size.x % size.y),
          static_cast<unsigned>(number / size.x / size.y)};
}

// Runs the blocks of one launch after another.
class Processor {
 public:
  void run(const Launch& launch, void (*thread)(void*), void* argument);
  [[noreturn]] void fail(const std::string& what) const;
  int block_barrier(bool value);
  uint64_t warp_collective(Collective operation, unsigned mask, uint64_t payload, int source);
  void interleave();
  void* shared_array(const void* site, uint64_t bytes);
  void* dynamic_shared() { return dynamic_.get(); }
  int lane() const { return current_->number % kLanes; }

 private:
  static void enter();
  void run_block();
  void wait(State state);
  void finish();
  void release_block();
  void complete(Warp& warp, size_t meeting);
  void take_turns();
  void give_up();
  void charge(uint64_t bytes);
  [[noreturn]] void report_deadlock() const;
  std::string waiting_for(const Fiber& fiber) const;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  std::vector<int> order_;  // in which threads start and barriers release them
  std::vector<int> ready_;  // from `head_` on
  size_t head_ = 0;
  bool last_first_ = false;  // one warp as far as it gets, rather than all of them in step
  std::vector<SharedArray> shared_;
  std::unique_ptr<char[]> dynamic_;
  uint64_t shared_bytes_ = 0;
  Context scheduler_;
  Fiber* current_ = nullptr;
  const Launch* launch_ = nullptr;
  void (*thread_)(void*) = nullptr;
  void* argument_ = nullptr;
  int live_ = 0;
  int at_barrier_ = 0;
  int barrier_count_ = 0;
  uint64_t random_ = 0;
  std::exception_ptr error_;
};

thread_local Processor processor;

void Processor::fail(const std::string& what) const {
  std::string message = std::string("kernel ") + launch_->name + ", block " + text(blockIdx);
  if (current_ != nullptr) message += ", thread " + text(current_->index);
  throw std::runtime_error(message + ": " + what);
}

void Processor::run(const Launch& launch, void (*thread)(void*), void* argument) {
  const uint64_t threads = uint64_t{launch.block.x} * launch.block.y * launch.block.z;
  const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  launch_ = &launch, thread_ = thread, argument_ = argument;
  current_ = nullptr;
  if (blocks == 0 || launch.grid.x > kMaxGridX || launch.grid.y > kMaxGridYZ || launch.grid.z > kMaxGridYZ)
    fail("the grid is empty or larger than a device takes");
  if (threads == 0 || threads > kMaxThreads || threads % kLanes != 0)
    fail("a block must have a multiple of 32 threads, at most 1024");
  while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
  warps_.assign(threads / kLanes, Warp{});
  order_.resize(threads);
  shared_.clear();
  dynamic_.reset(new char[launch.shared_bytes]);
  shared_bytes_ = 0;
  charge(launch.shared_bytes);
  blockDim = launch.block;
  gridDim = launch.grid;
  std::vector<uint64_t> numbers(blocks);
  std::iota(numbers.begin(), numbers.end(), 0);
  random_ = seed();
  if (seed() != 0) permute(numbers, random_);
  for (const uint64_t number : numbers) {
    blockIdx = unravel(number, launch.grid);
    run_block();
  }
  shared_.clear();
  dynamic_.reset();
}

void Processor::run_block() {
  std::iota(order_.begin(), order_.end(), 0);
  if (seed() != 0) {
    permute(order_, random_);
    last_first_ = next_random(random_) % 2 == 0;
  }
  for (const SharedArray& array : shared_) std::memset(array.data.get(), 0xFF, array.bytes);
  std::memset(dynamic_.get(), 0xFF, launch_->shared_bytes);
  for (Warp& warp : warps_) warp.meetings.clear(), warp.alive = 0xFFFFFFFFu;
  live_ = static_cast<int>(order_.size());
  at_barrier_ = barrier_count_ = 0;
  ready_.clear();
  head_ = 0;
  error_ = nullptr;
  for (const int number : order_) {
    Fiber& fiber = *fibers_[static_cast<size_t>(number)];
    fiber.index = unravel(static_cast<uint64_t>(number), launch_->block);
    fiber.number = number;
    fiber.state = State::kReady;
    fiber.stack.forget_outermost_frame();
    prepare(fiber.context, fiber.stack, &Processor::enter);
    ready_.push_back(number);
  }
  take_turns();
  current_ = nullptr;
  if (error_ == nullptr) return;
  give_up();
  std::rethrow_exception(error_);
}

void Processor::take_turns() {
  while (live_ > 0 && error_ == nullptr) {
    if (head_ == ready_.size()) {
      current_ = nullptr;
      try {
        report_deadlock();
      } catch (...) {
        error_ = std::current_exception();
      }
      return;
    }
    int number;
    if (last_first_) {
      number = ready_.back();
      ready_.pop_back();
    } else {
      number = ready_[head_++];
    }
    if (head_ == ready_.size()) ready_.clear(), head_ = 0;
    current_ = fibers_[static_cast<size_t>(number)].get();
    threadIdx = current_->index;
    switch_context(scheduler_, current_->context);
  }
}

void Processor::give_up() {
  for (const int number : order_) fibers_[static_cast<size_t>(number)]->stack.forget_all_frames();
  shared_.clear();
  dynamic_.reset();
}

void Processor::enter() {
  arrive(processor.scheduler_);
  try {
    processor.thread_(processor.argument_);
  } catch (...) {
    processor.error_ = std::current_exception();
  }
  processor.finish();
  switch_context(processor.current_->context, processor.scheduler_);
  std::abort();
}

void Processor::finish() {
  current_->state = State::kDone;
  Warp& warp = warps_[static_cast<size_t>(current_->number / kLanes)];
  const unsigned bit = 1u << lane();
  warp.alive &= ~bit;
  --live_;
  if (error_ != nullptr) return;
  if (live_ > 0 && at_barrier_ == live_) release_block();
}

void Processor::wait(State state) {
  Fiber* fiber = current_;
  fiber->state = state;
  switch_context(fiber->context, scheduler_);
}

void Processor::release_block() {
  const auto count = static_cast<uint64_t>(barrier_count_);
  at_barrier_ = barrier_count_ = 0;
  for (const int number : order_) {
    Fiber& fiber = *fibers_[static_cast<size_t>(number)];
    if (fiber.state != State::kAtBlockBarrier) continue;
    fiber.state = State::kReady;
    fiber.result = count;
    ready_.push_back(number);
  }
}

int Processor::block_barrier(bool value) {
  Fiber* fiber = current_;
  ++at_barrier_;
  barrier_count_ += value ? 1 : 0;
  fiber->state = State::kAtBlockBarrier;
  if (at_barrier_ == live_) release_block();
  switch_context(fiber->context, scheduler_);
  return static_cast<int>(fiber->result);
}

uint64_t Processor::warp_collective(Collective operation, unsigned mask, uint64_t payload, int source) {
  Fiber* fiber = current_;
  Warp& warp = warps_[static_cast<size_t>(fiber->number / kLanes)];
  const unsigned bit = 1u << lane();
  if ((mask & bit) == 0) fail("a warp operation whose mask does not name its own lane");
  if ((mask & ~warp.alive) != 0) fail("a warp operation whose mask names lanes that have exited");
  if (operation == Collective::kShuffle && (mask >> source & 1u) == 0)
    fail("a shuffle that reads lane " + std::to_string(source) + ", which its mask does not name");
  fiber->payload = payload;
  fiber->source = source;
  size_t found = 0;
  for (; found < warp.meetings.size(); ++found) {
    const Meeting& meeting = warp.meetings[found];
    if ((meeting.mask & mask) == 0) continue;
    if (meeting.mask != mask || meeting.operation != operation)
      fail("a warp operation that meets another one of the same lanes: masks or kinds differ");
    break;
  }
  if (found == warp.meetings.size()) warp.meetings.push_back({mask, 0, operation});
  Meeting& meeting = warp.meetings[found];
  meeting.arrived |= bit;
  fiber->state = State::kInWarp;
  if (meeting.arrived == mask) complete(warp, found);
  switch_context(fiber->context, scheduler_);
  return fiber->result;
}

void Processor::complete(Warp& warp, size_t index) {
  const Meeting meeting = warp.meetings[index];
  warp.meetings.erase(warp.meetings.begin() + static_cast<std::ptrdiff_t>(index));
  const size_t first = static_cast<size_t>(current_->number / kLanes * kLanes);
  uint64_t ballot = 0;
  for (size_t l = 0; l < kLanes; ++l) {
    if ((meeting.mask >> l & 1u) != 0 && fibers_[first + l]->payload != 0) ballot |= uint64_t{1} << l;
  }
  const size_t turn = seed() == 0 ? 0 : static_cast<size_t>(next_random(random_));
  for (size_t step = 0; step < kLanes; ++step) {
    const size_t l = (step + turn) % kLanes;
    if ((meeting.mask >> l & 1u) == 0) continue;
    Fiber& fiber = *fibers_[first + l];
    fiber.result = meeting.operation == Collective::kShuffle
                       ? fibers_[first + static_cast<size_t>(fiber.source)]->payload
                       : ballot;
    fiber.state = State::kReady;
    ready_.push_back(fiber.number);
  }
}

void Processor::interleave() {
  if (seed() == 0 || next_random(random_) % 4 != 0) return;
  // To the front of a queue, or to the end of a stack: others run first either way.
  if (last_first_) {
    ready_.insert(ready_.begin() + static_cast<std::ptrdiff_t>(head_), current_->number);
  } else {
    ready_.push_back(current_->number);
  }
  wait(State::kReady);
}

std::string Processor::waiting_for(const Fiber& fiber) const {
  return fiber.state == State::kAtBlockBarrier ? "at __syncthreads" : "in a warp operation";
}

void Processor::report_deadlock() const {
  std::string message = std::to_string(live_) + " threads wait for one another for ever:";
  int named = 0;
  State before = State::kDone;
  for (const int number : order_) {
    const Fiber& fiber = *fibers_[static_cast<size_t>(number)];
    if (fiber.state == State::kDone || fiber.state == before) continue;
    before = fiber.state;
    message += " thread " + text(fiber.index) + " " + waiting_for(fiber) + ";";
    if (++named == 4) break;
  }
  fail(message + " some others have left, or wait elsewhere");
}

void Processor::charge(uint64_t bytes) {
  shared_bytes_ += bytes;
  if (shared_bytes_ > kMaxSharedBytes) fail("more shared memory than a block may have");
}

void* Processor::shared_array(const void* site, uint64_t bytes) {
  for (const SharedArray& array : shared_) {
    if (array.site != site) continue;
    if (array.bytes != bytes) fail("a shared array whose size differs between threads");
    return array.data.get();
  }
  charge(bytes);
  // operator new[] aligns to 16 bytes, the widest access that a device has.
  shared_.push_back({site, bytes, std::unique_ptr<char[]>(new char[bytes])});
  std::memset(shared_.back().data.get(), 0xFF, bytes);
  return shared_.back().data.get();
}

}  // namespace

void run(const Launch& launch, void (*thread)(void*), void* argument) { processor.run(launch, thread, argument); }
void fail(const char* what) { processor.fail(what); }
int block_barrier(bool value) { return processor.block_barrier(value); }
uint64_t warp_collective(Collective operation, unsigned mask, uint64_t payload, int source) {
  return processor.warp_collective(operation, mask, payload, source);
}
int lane() { return processor.lane(); }
void interleave() { processor.interleave(); }
void* shared_array(const void* site, uint64_t bytes) { return processor.shared_array(site, bytes); }
void* dynamic_shared() { return processor.dynamic_shared(); }

}  // namespace gnnkit::emulation
