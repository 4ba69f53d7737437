# Cross-compiles for macOS on arm64, to see whether it compiles and links; nothing here can run the result.
# `zig c++` compiles: it brings Apple's headers. Debian's clang and lld link: zig's own linker passes over the list of
# exported symbols, which Apple's follows. tests/macos/cross.py (`make test-macos`) sets, in the environment,
#   ZIG              the program zig, of the package ziglang
#   MACOS_LIBRARIES  a folder with zig's libc++.a and libc++abi.a for aarch64-macos, and its stub libSystem.tbd
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_VERSION 24) # of Darwin, in macOS 15
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_C_COMPILER "$ENV{ZIG}" cc -target aarch64-macos -fno-sanitize=undefined)
set(CMAKE_CXX_COMPILER "$ENV{ZIG}" c++ -target aarch64-macos -fno-sanitize=undefined)
foreach(tool AR RANLIB INSTALL_NAME_TOOL)
  string(REPLACE "_" "-" name "llvm-${tool}")
  string(TOLOWER "${name}" name)
  find_program(CMAKE_${tool} NAMES ${name} ${name}-14 ${name}-19 REQUIRED)
endforeach()
set(CMAKE_OSX_SYSROOT "")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_USER_MAKE_RULES_OVERRIDE "${CMAKE_CURRENT_LIST_DIR}/aarch64-macos-link.cmake")
