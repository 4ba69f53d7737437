# Where ONNX Runtime's C and C++ headers (API 23 or newer) are: third_party/onnxruntime, or what -DONNXRUNTIME_INCLUDE_DIR
# names. Headers only: the library itself is loaded at run time, from wherever the user's ONNX Runtime is.
set(ONNXRUNTIME_INCLUDE_DIR "${PROJECT_SOURCE_DIR}/third_party/onnxruntime" CACHE PATH
    "Folder of onnxruntime_cxx_api.h, of ONNX Runtime 1.23 or newer")

function(_zr_check_headers)
  set(lowest_api 23)
  set(api 0)
  if(EXISTS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_cxx_api.h" AND EXISTS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h")
    file(STRINGS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h" line REGEX "^#define ORT_API_VERSION [0-9]+" LIMIT_COUNT 1)
    if(line MATCHES "([0-9]+)$")
      set(api "${CMAKE_MATCH_1}")
    endif()
  endif()
  if(api LESS lowest_api)
    message(FATAL_ERROR "ONNXRUNTIME_INCLUDE_DIR=${ONNXRUNTIME_INCLUDE_DIR} has no ONNX Runtime headers of API "
                        "${lowest_api} or newer (found ${api}): give the folder of onnxruntime_cxx_api.h, 1.23 or newer")
  endif()
endfunction()
_zr_check_headers()
message(STATUS "ONNX Runtime headers: ${ONNXRUNTIME_INCLUDE_DIR}")
