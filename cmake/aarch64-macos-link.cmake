# How aarch64-macos.cmake links: CMake's own rules for macOS, with clang and lld in the compiler's place.
set(linker "clang --target=arm64-apple-macos15.0 -fuse-ld=lld -nostdlib -L\"$ENV{MACOS_LIBRARIES}\"")
set(end "-o <TARGET> <OBJECTS> <LINK_LIBRARIES> -lc++ -lc++abi -lSystem")
foreach(language C CXX)
  set(CMAKE_SHARED_LIBRARY_RUNTIME_${language}_FLAG "-Wl,-rpath,")  # CMake asks a Mac for its version first
  set(name "<SONAME_FLAG> <TARGET_INSTALLNAME_DIR><TARGET_SONAME>")
  set(CMAKE_${language}_LINK_EXECUTABLE "${linker} <CMAKE_${language}_LINK_FLAGS> <LINK_FLAGS> ${end}")
  set(CMAKE_${language}_CREATE_SHARED_LIBRARY
      "${linker} <CMAKE_SHARED_LIBRARY_CREATE_${language}_FLAGS> <LINK_FLAGS> ${name} ${end}")
  set(CMAKE_${language}_CREATE_SHARED_MODULE
      "${linker} <CMAKE_SHARED_MODULE_CREATE_${language}_FLAGS> <LINK_FLAGS> ${end}")
endforeach()
