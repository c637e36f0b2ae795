# The compile options of all targets. Not exported: programs that link against glesam choose their own.

function(glesam_compile_options target)
  target_compile_features(${target} PRIVATE cxx_std_17)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  # In a unity build the names of one file seem to shadow another's.
  set(shadow $<$<NOT:$<BOOL:${CMAKE_UNITY_BUILD}>>:-Wshadow>)
  # No implicit fused multiply-add: sums round alike on x86 and Arm, and as in the Python package.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion ${shadow} -ffp-contract=off
                         $<$<BOOL:${GLESAM_WARNINGS_AS_ERRORS}>:-Werror>)
  if(GLESAM_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${GLESAM_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${GLESAM_SANITIZE})
  endif()
endfunction()
