# The library's dependencies, also from where pip installs them. Programs that link against glesam need none of them.

find_package(Python3 QUIET COMPONENTS Interpreter)

# Sets `result` to the output of a line of Python, or to an empty string.
function(glesam_ask_python code result)
  set(answer "")
  if(Python3_Interpreter_FOUND)
    execute_process(COMMAND "${Python3_EXECUTABLE}" -c "${code}" OUTPUT_VARIABLE answer
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(${result} "${answer}" PARENT_SCOPE)
endfunction()

# nlohmann_json: the system's, or the headers that `pip install nlohmann-json` brings.
find_package(nlohmann_json 3.10 QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  glesam_ask_python("import sysconfig; print(sysconfig.get_path('purelib'))" site_packages)
  find_path(NLOHMANN_JSON_INCLUDE_DIR nlohmann/json.hpp HINTS "${site_packages}/nlohmann_json/include")
  if(NOT NLOHMANN_JSON_INCLUDE_DIR)
    message(FATAL_ERROR "nlohmann_json is missing: apt-get install nlohmann-json3-dev, or pip install nlohmann-json")
  endif()
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
  target_include_directories(nlohmann_json::nlohmann_json INTERFACE "${NLOHMANN_JSON_INCLUDE_DIR}")
endif()

find_package(OpenSSL QUIET COMPONENTS Crypto)
if(NOT OPENSSL_FOUND)
  message(FATAL_ERROR "OpenSSL is missing: apt-get install libssl-dev")
endif()

include(GlesamOpenVINO)
include(GlesamOnnxRuntime)
include(GlesamTensorRT)
if(NOT OpenVINO_FOUND AND NOT TARGET onnxruntime::onnxruntime AND NOT TARGET tensorrt::nvinfer)
  message(WARNING "No backend was found, so this build reads and checks bundles and segments nothing. "
                  "${GLESAM_OPENVINO_CURE}; or ${GLESAM_ONNXRUNTIME_CURE}; or ${GLESAM_TENSORRT_CURE}")
endif()
