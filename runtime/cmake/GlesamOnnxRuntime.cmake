# ONNX Runtime: its release with its CMake files; or headers and library below ONNXRUNTIME_ROOT; or headers there and
# the library of the pip package, which has no headers. The target is onnxruntime::onnxruntime.
set(GLESAM_ONNXRUNTIME_CURE
    "ONNX Runtime: unpack a release of it and give -DONNXRUNTIME_ROOT=..., the folder with include and lib")
if(GLESAM_WITH_ONNXRUNTIME STREQUAL "OFF")
  return()
endif()

# The wheel has libonnxruntime.so.1.X.Y only, and the loader looks for libonnxruntime.so.1: a link of that name, which
# is installed beside the library.
function(glesam_onnxruntime_of_pip result)
  glesam_ask_python("import glob, importlib.util as u; print(glob.glob(u.find_spec('onnxruntime').submodule_search_locations[0] + '/capi/libonnxruntime.so.*')[0])" library)
  if(library)
    set(link "${PROJECT_BINARY_DIR}/onnxruntime/libonnxruntime.so.1")
    file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/onnxruntime")
    file(CREATE_LINK "${library}" "${link}" SYMBOLIC)
    set(${result} "${link}" PARENT_SCOPE)
    set(GLESAM_ONNXRUNTIME_LINK "${link}" PARENT_SCOPE)
  endif()
endfunction()

if(POLICY CMP0144)
  cmake_policy(SET CMP0144 NEW)  # find_package looks below ONNXRUNTIME_ROOT, too
endif()
find_package(onnxruntime CONFIG QUIET)
if(NOT TARGET onnxruntime::onnxruntime)
  find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h HINTS "${ONNXRUNTIME_ROOT}" ENV ONNXRUNTIME_ROOT
            PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session)
  find_library(ONNXRUNTIME_LIBRARY NAMES onnxruntime libonnxruntime.so.1 HINTS "${ONNXRUNTIME_ROOT}"
               ENV ONNXRUNTIME_ROOT PATH_SUFFIXES lib lib64)
  if(ONNXRUNTIME_INCLUDE_DIR AND NOT ONNXRUNTIME_LIBRARY)
    glesam_onnxruntime_of_pip(ONNXRUNTIME_LIBRARY)
  endif()
  if(ONNXRUNTIME_INCLUDE_DIR AND ONNXRUNTIME_LIBRARY)
    add_library(onnxruntime::onnxruntime SHARED IMPORTED)
    set_target_properties(onnxruntime::onnxruntime PROPERTIES IMPORTED_LOCATION "${ONNXRUNTIME_LIBRARY}"
                          INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_INCLUDE_DIR}")
  elseif(NOT GLESAM_WITH_ONNXRUNTIME STREQUAL "AUTO")
    message(FATAL_ERROR "ONNX Runtime was not found. ${GLESAM_ONNXRUNTIME_CURE}")
  endif()
endif()
