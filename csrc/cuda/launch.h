// How the boxed operators reach the kernels: the device and stream of a tensor, launches, and scratch memory.
#pragma once

#include <algorithm>

#include "common/arguments.h"
#include "common/dispatch.h"
#include "cuda/device.h"
#include "stable.h"

// Under emulation the launchers are a CPU library.
#if defined(GNNKIT_EMULATE)
#define GNNKIT_DEVICE_KEY CPU
#else
#define GNNKIT_DEVICE_KEY CUDA
#endif

namespace gnnkit {

#if defined(GNNKIT_EMULATE)

using Stream = std::nullptr_t;

class OnDevice {
 public:
  explicit OnDevice(const Tensor&) {}
  Stream stream() const { return nullptr; }
};

template <typename... Parameters, typename... Arguments>
void launch(const char* name, dim3 grid, dim3 block, uint64_t shared_bytes, Stream, void (*kernel)(Parameters...),
            Arguments... arguments) {
  emulation::launch(name, grid, block, shared_bytes, kernel, arguments...);
}

#else

using Stream = cudaStream_t;

// Makes the device of a tensor current for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& tensor)
      : index_(tensor.get_device_index()), guard_(torch::stable::accelerator::DeviceGuard(index_)) {}
  // The stream that torch computes on. What a launcher allocates and frees on the way is safe on it alone.
  Stream stream() const {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    return static_cast<Stream>(stream);
  }

 private:
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
};

inline void check_cuda(cudaError_t status, const char* what) {
  STD_TORCH_CHECK(status == cudaSuccess, what, ": ", cudaGetErrorString(status));
}

template <typename... Parameters, typename... Arguments>
void launch(const char* name, dim3 grid, dim3 block, uint64_t shared_bytes, Stream stream,
            void (*kernel)(Parameters...), Arguments... arguments) {
  constexpr uint64_t kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking)
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        name);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

#endif

// kernel<<<grid, block, shared_bytes, stream>>>(...), and a check that it started. A kernel with commas in its name
// stands in parentheses. The grid must not be empty.
#define GNNKIT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::gnnkit::launch(#kernel, grid, block, shared_bytes, stream, kernel, __VA_ARGS__)

// Blocks of `kBlock` threads, at least one, for that many threads in all. Only the first dimension of a grid takes more
// than 65,535.
inline dim3 blocks_for_threads(int64_t threads) {
  const int64_t blocks = std::max<int64_t>(1, (threads + kBlock - 1) / kBlock);
  STD_TORCH_CHECK(blocks <= INT32_MAX, "too many elements for one launch");
  return dim3(static_cast<unsigned>(blocks));
}

// Memory that lives until the stream has used it: torch's allocator reuses it in stream order.
inline Tensor scratch(int64_t bytes, const Tensor& like) {
  return empty({std::max<int64_t>(bytes, 1)}, like, ScalarType::Byte);
}

// Contiguous, and aligned as torch's own memory is: a slice that starts elsewhere is copied. How wide a load may be,
// and with it the order of a sum, then depends on shapes alone.
inline Tensor aligned(const Tensor& tensor) {
  constexpr uintptr_t kWidestLoad = 16;
  const Tensor whole = dense(tensor);
  return reinterpret_cast<uintptr_t>(whole.const_data_ptr()) % kWidestLoad == 0 ? whole : torch::stable::clone(whole);
}

inline OptionalTensor aligned(const OptionalTensor& tensor) {
  return tensor.has_value() ? OptionalTensor(aligned(*tensor)) : std::nullopt;
}

}  // namespace gnnkit
