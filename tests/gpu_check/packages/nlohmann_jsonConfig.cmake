# NLOHMANN_JSON_INCLUDE_DIR has nlohmann/json.hpp.
if(NOT TARGET nlohmann_json::nlohmann_json)
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
  target_include_directories(nlohmann_json::nlohmann_json
                             SYSTEM INTERFACE $ENV{NLOHMANN_JSON_INCLUDE_DIR})
endif()
