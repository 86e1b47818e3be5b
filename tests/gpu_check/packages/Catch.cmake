# What a header alone does not bring along. All tests of a program are one for CTest.
function(catch_discover_tests target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TEST_PREFIX" "PROPERTIES")
  add_test(NAME "${arg_TEST_PREFIX}${target}" COMMAND ${target})
  if(arg_PROPERTIES)
    set_tests_properties("${arg_TEST_PREFIX}${target}" PROPERTIES ${arg_PROPERTIES})
  endif()
endfunction()
