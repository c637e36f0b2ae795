# OpenVINO: an installed one, or the pip package, which has headers and CMake files.
set(GLESAM_OPENVINO_CURE
    "OpenVINO: pip install openvino (and -DPython3_EXECUTABLE=... for another Python than ${Python3_EXECUTABLE})")
if(GLESAM_WITH_OPENVINO STREQUAL "OFF")
  return()
endif()

find_package(OpenVINO QUIET COMPONENTS Runtime)
if(NOT OpenVINO_FOUND)
  glesam_ask_python("import openvino.utils; print(openvino.utils.get_cmake_path())" openvino_cmake)
  find_package(OpenVINO QUIET COMPONENTS Runtime HINTS "${openvino_cmake}")
endif()
if(NOT OpenVINO_FOUND AND NOT GLESAM_WITH_OPENVINO STREQUAL "AUTO")
  message(FATAL_ERROR "OpenVINO was not found. ${GLESAM_OPENVINO_CURE}")
endif()
