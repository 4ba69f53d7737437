# Where things go: the usual folders of a prefix, or one folder `ziprerank/` in a Python wheel, so that C and C++
# programs can build against the wheel's copy too (CMAKE_PREFIX_PATH=<site-packages>/ziprerank).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(SKBUILD)
  set(ZIPRERANK_LIBRARY_DESTINATION ziprerank)
  set(ZIPRERANK_INCLUDE_DESTINATION ziprerank/include)
  set(ZIPRERANK_CONFIG_DESTINATION ziprerank/cmake)
else()
  set(ZIPRERANK_LIBRARY_DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  set(ZIPRERANK_INCLUDE_DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  set(ZIPRERANK_CONFIG_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/ziprerank")
endif()

function(ziprerank_install_library)
  install(TARGETS ziprerank EXPORT ziprerankTargets LIBRARY DESTINATION "${ZIPRERANK_LIBRARY_DESTINATION}")
  install(DIRECTORY engine/include/ziprerank DESTINATION "${ZIPRERANK_INCLUDE_DESTINATION}")
  install(EXPORT ziprerankTargets NAMESPACE ziprerank:: FILE ziprerankConfig.cmake
          DESTINATION "${ZIPRERANK_CONFIG_DESTINATION}")
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/ziprerankConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/ziprerankConfigVersion.cmake" DESTINATION "${ZIPRERANK_CONFIG_DESTINATION}")
endfunction()

function(ziprerank_install_python module)
  if(APPLE)  # untested
    set_target_properties(${module} PROPERTIES INSTALL_RPATH "@loader_path")
  else()
    set_target_properties(${module} PROPERTIES INSTALL_RPATH "$ORIGIN")
  endif()
  install(TARGETS ${module} LIBRARY DESTINATION ziprerank)
endfunction()
