# The CUDA kernels and their launchers, compiled as C++ against the emulation: one library that the tests load in place of
# the CPU library, and a program that misuses the emulation to see that it complains.
set_source_files_properties(${CUDA_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(gnnkit_emulated SHARED EXCLUDE_FROM_ALL ${CUDA_SOURCES} csrc/cuda/emulation.cpp csrc/cuda/fiber.cpp)
target_compile_definitions(gnnkit_emulated PRIVATE GNNKIT_EMULATE TORCH_TARGET_VERSION=0x020b000000000000)
# Pragmas are for nvcc. The tests wait for the compiler too, and -O1 is where both together take least.
target_compile_options(gnnkit_emulated PRIVATE -O1 -Wno-unknown-pragmas)
target_include_directories(gnnkit_emulated SYSTEM PRIVATE "${GNNKIT_TORCH_DIR}/include")
target_link_libraries(gnnkit_emulated PRIVATE gnnkit_options "${TORCH_CPU_LIBRARY}")
set_target_properties(gnnkit_emulated PROPERTIES SKIP_BUILD_RPATH ON)

add_executable(emulation_faults EXCLUDE_FROM_ALL
  tests/emulation/faults.cpp csrc/cuda/emulation.cpp csrc/cuda/fiber.cpp)
target_compile_definitions(emulation_faults PRIVATE GNNKIT_EMULATE)
target_compile_options(emulation_faults PRIVATE -O1)
target_link_libraries(emulation_faults PRIVATE gnnkit_options)
add_custom_target(emulation DEPENDS gnnkit_emulated emulation_faults)
