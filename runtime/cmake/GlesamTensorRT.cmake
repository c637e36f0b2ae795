# TensorRT 10.3 to 11.x and CUDA's runtime. The target is tensorrt::nvinfer.
set(GLESAM_TENSORRT_CURE
    "TensorRT: on a Jetson JetPack brings it; elsewhere install NVIDIA's CUDA toolkit and TensorRT packages with headers \
(-DCUDAToolkit_ROOT=..., -DTENSORRT_ROOT=..., where they lie elsewhere than in the system)")
if(GLESAM_WITH_TENSORRT STREQUAL "OFF")
  return()
endif()

find_package(CUDAToolkit QUIET)
find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT PATH_SUFFIXES include)
find_library(TENSORRT_LIBRARY nvinfer HINTS "${TENSORRT_ROOT}" ENV TENSORRT_ROOT PATH_SUFFIXES lib lib64)
if(TARGET CUDA::cudart AND TENSORRT_INCLUDE_DIR AND TENSORRT_LIBRARY)
  add_library(tensorrt::nvinfer SHARED IMPORTED)
  set_target_properties(tensorrt::nvinfer PROPERTIES IMPORTED_LOCATION "${TENSORRT_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${TENSORRT_INCLUDE_DIR}")
elseif(NOT GLESAM_WITH_TENSORRT STREQUAL "AUTO")
  message(FATAL_ERROR "TensorRT or CUDA was not found. ${GLESAM_TENSORRT_CURE}")
endif()
