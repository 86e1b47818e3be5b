# Catch2 version 2 as one header: CATCH2_INCLUDE_DIR has catch2/catch.hpp.
if(NOT TARGET Catch2::Catch2)
  add_library(Catch2::Catch2 INTERFACE IMPORTED)
  target_include_directories(Catch2::Catch2 SYSTEM INTERFACE $ENV{CATCH2_INCLUDE_DIR})
endif()
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
