# The CUDA library. No GPU is needed to build it, and torch's CUDA libraries are not linked: the stable ABI's functions
# for CUDA are found when the library is loaded, in a torch that has them.
include(CheckLanguage)
set(CMAKE_CUDA_ARCHITECTURES "80-real;90-real;90-virtual" CACHE STRING "Compute capabilities; -virtual: PTX, for later ones")
check_language(CUDA)
set(TORCH_CUDA "")
if(EXISTS "${GNNKIT_TORCH_DIR}/version.py")
  file(STRINGS "${GNNKIT_TORCH_DIR}/version.py" TORCH_CUDA REGEX "^cuda.*=")
  string(REGEX REPLACE "^cuda[^=]*= *['\"]?([0-9]*).*" "\\1" TORCH_CUDA "${TORCH_CUDA}")
endif()

if(GNNKIT_CUDA STREQUAL "AUTO" AND (NOT CMAKE_CUDA_COMPILER OR NOT TORCH_CUDA))
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "GNNKIT_CUDA=ON, but no nvcc was found. Put it on PATH, or name it with -DCMAKE_CUDA_COMPILER=...")
endif()
enable_language(CUDA)
# Releases of CMake before 3.26 do not know that nvcc has this standard.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
endif()
string(REGEX MATCH "^[0-9]+" CUDA_MAJOR "${CMAKE_CUDA_COMPILER_VERSION}")
if(GNNKIT_CUDA STREQUAL "AUTO" AND NOT CUDA_MAJOR STREQUAL TORCH_CUDA)
  message(WARNING "nvcc is of CUDA ${CUDA_MAJOR} and torch of CUDA ${TORCH_CUDA}: the CUDA library is not built")
  return()
endif()

add_library(gnnkit_cuda SHARED ${CUDA_SOURCES})
# The major version is part of the name, so that a library is never loaded into a torch of another one.
set_target_properties(gnnkit_cuda PROPERTIES OUTPUT_NAME "gnnkit_cuda${CUDA_MAJOR}" SKIP_BUILD_RPATH ON
  CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static)
target_compile_definitions(gnnkit_cuda PRIVATE USE_CUDA TORCH_TARGET_VERSION=0x020b000000000000)
target_compile_options(gnnkit_cuda PRIVATE --threads=2 -Xcompiler=-Wall,-Wextra)
target_include_directories(gnnkit_cuda PRIVATE csrc)
target_include_directories(gnnkit_cuda SYSTEM PRIVATE "${GNNKIT_TORCH_DIR}/include")
target_link_libraries(gnnkit_cuda PRIVATE "${TORCH_CPU_LIBRARY}")
install(TARGETS gnnkit_cuda LIBRARY DESTINATION gnnkit/lib)
