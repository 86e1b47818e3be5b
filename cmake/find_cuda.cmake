# Decides whether the kernels are built: LORA_WITH_CUDA is ON, OFF or AUTO, which takes what is
# there. Sets LORA_HAVE_CUDA and, if that is true, enables the language CUDA.

set(LORA_WITH_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (if nvcc is there), ON or OFF")
set_property(CACHE LORA_WITH_CUDA PROPERTY STRINGS AUTO ON OFF)

set(LORA_HAVE_CUDA FALSE)
if(LORA_WITH_CUDA STREQUAL "AUTO" OR LORA_WITH_CUDA)
  set(reason "")
  if(NOT CMAKE_CUDA_COMPILER AND NOT "$ENV{CUDACXX}" STREQUAL "")
    set(LORA_NVCC "$ENV{CUDACXX}")
  else()
    find_program(LORA_NVCC NAMES nvcc NO_CACHE
                 HINTS ${CMAKE_CUDA_COMPILER} ENV CUDA_PATH ENV CUDA_HOME /usr/local/cuda
                 PATH_SUFFIXES bin)
  endif()
  if(CMAKE_CUDA_COMPILER)
    set(LORA_NVCC ${CMAKE_CUDA_COMPILER})
  endif()
  if(NOT LORA_NVCC)
    set(reason "no nvcc in PATH, CUDACXX, CUDA_PATH or /usr/local/cuda")
  else()
    # Architectures are flags of the target: CMake 3.25 does not know all that nvcc does.
    set(CMAKE_CUDA_COMPILER ${LORA_NVCC} CACHE FILEPATH "CUDA compiler")
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    include(CheckLanguage)
    set(CMAKE_MESSAGE_LOG_LEVEL WARNING)  # its two lines say less than ours
    check_language(CUDA)
    unset(CMAKE_MESSAGE_LOG_LEVEL)
    if(NOT CMAKE_CUDA_COMPILER)
      set(reason "${LORA_NVCC} cannot compile, see CMakeFiles/CMakeError.log")
    endif()
  endif()

  if(NOT reason STREQUAL "")
    if(NOT LORA_WITH_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "LORA_WITH_CUDA is ON, but the CUDA kernels cannot be built: ${reason}.")
    endif()
    message(STATUS "Without CUDA kernels: ${reason}")
  else()
    enable_language(CUDA)
    set(LORA_HAVE_CUDA TRUE)
  endif()
else()
  message(STATUS "Without CUDA kernels: LORA_WITH_CUDA is OFF")
endif()
