# Finds the C and C++ headers of ONNX Runtime (API 23 or newer). Headers only: the library itself is loaded at run
# time, from wherever the user's ONNX Runtime is. In this order:
#   1. -DONNXRUNTIME_INCLUDE_DIR=...
#   2. an installed package (a system's or a prefix's include folder)
#   3. the user's cache, where steps 4 and 5 leave what they fetched
#   4. the official release archive, 8 MB
#   5. the npm package com.github.asus4.onnxruntime, 150 MB, which carries the headers: for places where only
#      package registries can be reached
# Both downloads are pinned by hash. -DZIPRERANK_DOWNLOAD_HEADERS=OFF leaves them out. Sets ONNXRUNTIME_INCLUDE_DIR.

option(ZIPRERANK_DOWNLOAD_HEADERS "Fetch ONNX Runtime's headers when they are not installed" ON)

set(_zr_lowest_api 23)
set(_zr_release 1.23.2)
set(_zr_release_sha256 1fa4dcaef22f6f7d5cd81b28c2800414350c10116f5fdd46a2160082551c5f9b)
set(_zr_npm com.github.asus4.onnxruntime)
set(_zr_npm_version 0.4.9)
# the registry's `dist.integrity`, in hex
string(CONCAT _zr_npm_sha512 064cf176e499f4891e0cfe90f25cf64c553689eee1492bd2ed921fccca28131a
                             2ad02373267bae19a509ec8b288c182a3b8a2e0f58d76a1f0e63225b08ddbd16)

if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(_zr_cache "$ENV{XDG_CACHE_HOME}/ziprerank")
else()
  set(_zr_cache "$ENV{HOME}/.cache/ziprerank")
endif()
set(_zr_cached "${_zr_cache}/onnxruntime-headers")

# The API version of the headers in `dir`, or 0.
function(_zr_api_of dir out)
  set(api 0)
  if(EXISTS "${dir}/onnxruntime_cxx_api.h" AND EXISTS "${dir}/onnxruntime_c_api.h")
    file(STRINGS "${dir}/onnxruntime_c_api.h" line REGEX "^#define ORT_API_VERSION [0-9]+" LIMIT_COUNT 1)
    if(line MATCHES "([0-9]+)$")
      set(api "${CMAKE_MATCH_1}")
    endif()
  endif()
  set(${out} "${api}" PARENT_SCOPE)
endfunction()

# Takes the headers out of `archive` and puts them into the cache in one step, so that a build beside this one, or a
# build that is stopped, never sees half of them.
function(_zr_cache_headers archive work)
  file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${work}/all" PATTERNS "*.h")
  file(GLOB_RECURSE found "${work}/all/onnxruntime_cxx_api.h")
  if(found)
    list(GET found 0 first)
    get_filename_component(headers "${first}" DIRECTORY)
    file(RENAME "${headers}" "${_zr_cached}" RESULT ignored)  # fails when another build was first: fine
  endif()
endfunction()

# The reason why a way out failed goes to `reason`; success shows in the cache.
function(_zr_fetch_release work reason)
  set(url https://github.com/microsoft/onnxruntime/releases/download/v${_zr_release}/onnxruntime-linux-x64-${_zr_release}.tgz)
  message(STATUS "Fetching ONNX Runtime's headers: ${url}")
  file(DOWNLOAD "${url}" "${work}/release.tgz" STATUS status INACTIVITY_TIMEOUT 20 TIMEOUT 300)
  list(GET status 0 code)
  if(NOT code EQUAL 0)
    list(GET status 1 text)
    set(${reason} "cannot be downloaded (${text})" PARENT_SCOPE)
    return()
  endif()
  file(SHA256 "${work}/release.tgz" hash)
  if(NOT hash STREQUAL _zr_release_sha256)
    set(${reason} "has SHA-256 ${hash}, not ${_zr_release_sha256}" PARENT_SCOPE)
    return()
  endif()
  _zr_cache_headers("${work}/release.tgz" "${work}")
endfunction()

function(_zr_fetch_npm work reason)
  find_program(_zr_npm_program npm)
  if(NOT _zr_npm_program)
    set(${reason} "needs npm, which is not installed" PARENT_SCOPE)
    return()
  endif()
  message(STATUS "Fetching ONNX Runtime's headers: npm package ${_zr_npm} ${_zr_npm_version} (150 MB, once)")
  execute_process(COMMAND "${_zr_npm_program}" pack --silent "${_zr_npm}@${_zr_npm_version}"
                  WORKING_DIRECTORY "${work}" RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE text TIMEOUT 900)
  set(archive "${work}/${_zr_npm}-${_zr_npm_version}.tgz")
  if(NOT code EQUAL 0 OR NOT EXISTS "${archive}")
    string(STRIP "${text}" text)
    set(${reason} "npm pack failed (${code}) ${text}" PARENT_SCOPE)
    return()
  endif()
  file(SHA512 "${archive}" hash)
  if(NOT hash STREQUAL _zr_npm_sha512)
    set(${reason} "has SHA-512 ${hash}, not ${_zr_npm_sha512}" PARENT_SCOPE)
    return()
  endif()
  _zr_cache_headers("${archive}" "${work}")
endfunction()

function(_zr_find_headers)
  if(ONNXRUNTIME_INCLUDE_DIR)
    _zr_api_of("${ONNXRUNTIME_INCLUDE_DIR}" api)
    if(api LESS _zr_lowest_api)
      message(FATAL_ERROR "ONNXRUNTIME_INCLUDE_DIR=${ONNXRUNTIME_INCLUDE_DIR} has no ONNX Runtime headers of API "
                          "${_zr_lowest_api} or newer (found ${api}): give the folder of onnxruntime_cxx_api.h, 1.23 or newer")
    endif()
    return()
  endif()

  find_path(_zr_installed onnxruntime_cxx_api.h
            PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_CACHE)
  set(dirs "${_zr_cached}")
  if(_zr_installed)
    list(PREPEND dirs "${_zr_installed}")
  endif()
  set(reason_release "switched off by ZIPRERANK_DOWNLOAD_HEADERS=OFF")
  set(reason_npm "${reason_release}")
  foreach(step look release npm)
    if(ZIPRERANK_DOWNLOAD_HEADERS AND NOT step STREQUAL "look")
      string(RANDOM LENGTH 12 suffix)
      set(work "${_zr_cache}/fetch-${suffix}")
      file(MAKE_DIRECTORY "${work}")
      set(reason_${step} "holds no headers")
      cmake_language(CALL _zr_fetch_${step} "${work}" reason_${step})
      file(REMOVE_RECURSE "${work}")
    endif()
    foreach(dir IN LISTS dirs)
      _zr_api_of("${dir}" api)
      if(NOT api LESS _zr_lowest_api)
        set(ONNXRUNTIME_INCLUDE_DIR "${dir}" PARENT_SCOPE)  # not cached: the next configure looks again
        return()
      endif()
    endforeach()
  endforeach()
  message(FATAL_ERROR
    "ONNX Runtime's headers (1.23 or newer) were not found. Ways out:\n"
    "  - pass -DONNXRUNTIME_INCLUDE_DIR=<folder of onnxruntime_cxx_api.h> "
    "(with pip: -C cmake.define.ONNXRUNTIME_INCLUDE_DIR=<folder>)\n"
    "  - install a development package of ONNX Runtime, or add its prefix to CMAKE_PREFIX_PATH\n"
    "  - put the headers into ${_zr_cached}\n"
    "  - let CMake fetch them; tried:\n"
    "      release archive ${_zr_release}: ${reason_release}\n"
    "      npm package ${_zr_npm} ${_zr_npm_version}: ${reason_npm}")
endfunction()

_zr_find_headers()
message(STATUS "ONNX Runtime headers: ${ONNXRUNTIME_INCLUDE_DIR}")
