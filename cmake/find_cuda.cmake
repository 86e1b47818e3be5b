# Decides whether the kernels are built: LORA_WITH_CUDA is ON, OFF or AUTO, which takes what is
# there. Sets LORA_HAVE_CUDA and, if that is true, enables the language CUDA.

set(LORA_WITH_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (if nvcc is there), ON or OFF")
set_property(CACHE LORA_WITH_CUDA PROPERTY STRINGS AUTO ON OFF)

set(LORA_HAVE_CUDA FALSE)
if(NOT LORA_WITH_CUDA STREQUAL "AUTO" AND NOT LORA_WITH_CUDA)
  message(STATUS "Without CUDA kernels: LORA_WITH_CUDA is OFF")
  return()
endif()

# Architectures are flags of the target: CMake 3.25 does not know all that nvcc does.
set(CMAKE_CUDA_ARCHITECTURES OFF)

set(reason "")
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT "$ENV{CUDACXX}" STREQUAL "")
    set(nvcc $ENV{CUDACXX})
  else()
    find_program(nvcc nvcc NO_CACHE HINTS ENV CUDA_PATH ENV CUDA_HOME /usr/local/cuda
                 PATH_SUFFIXES bin)
  endif()
  if(nvcc)
    # A compiler that does not work must not end the configuration: it is tried on the side first.
    unset(CMAKE_CUDA_COMPILER CACHE)
    set(ENV{CUDACXX} ${nvcc})
    include(CheckLanguage)
    set(CMAKE_MESSAGE_LOG_LEVEL WARNING)
    check_language(CUDA)
    unset(CMAKE_MESSAGE_LOG_LEVEL)
    if(NOT CMAKE_CUDA_COMPILER)
      unset(CMAKE_CUDA_COMPILER CACHE)
      set(reason "${nvcc} does not compile, see CMakeFiles/CMakeError.log")
    endif()
  else()
    set(reason "no nvcc in PATH, CUDACXX, CUDA_PATH, CUDA_HOME or /usr/local/cuda")
  endif()
endif()

if(reason STREQUAL "")
  enable_language(CUDA)
  set(LORA_HAVE_CUDA TRUE)
elseif(LORA_WITH_CUDA STREQUAL "AUTO")
  message(STATUS "Without CUDA kernels: ${reason}")
else()
  message(FATAL_ERROR "LORA_WITH_CUDA is ON, but the CUDA kernels cannot be built: ${reason}")
endif()
