// A host that catches errors of the library by their classes: they must be the same type on both sides of it.
#include <cstdio>
#include <exception>
#include <string>
#include <ziprerank/engine.hpp>

namespace {

int failures = 0;

// `call` must throw an Error of its own class and `kind`, whichever of both the host asks for.
template <typename Class, typename Call>
void Caught(const char* what, ziprerank::ErrorKind kind, Call call) {
  bool by_class = false;
  bool by_base = false;
  try {
    call();
  } catch (const Class& error) {
    by_class = error.kind() == kind;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: caught as std::exception only: %s\n", what, error.what());
  } catch (...) {
    std::fprintf(stderr, "%s: caught as nothing that is known\n", what);
  }
  try {
    call();
  } catch (const ziprerank::Error& error) {
    by_base = error.kind() == kind;
  } catch (...) {
  }
  if (by_class && by_base) return;
  ++failures;
  std::fprintf(stderr, "%s: by its class %d, as ziprerank::Error %d\n", what, by_class, by_base);
}

}  // namespace

int main() {
  Caught<ziprerank::InvalidArgument>("ParseBlank", ziprerank::ErrorKind::kInvalidArgument,
                                     [] { ziprerank::ParseBlank("magic"); });
  Caught<ziprerank::ProviderError>("Engine", ziprerank::ErrorKind::kProvider, [] {
    ziprerank::EngineOptions options;
    options.bundle = "/nowhere";
    options.runtime_library = "/nowhere/libonnxruntime.so";
    ziprerank::Engine engine(options);
  });
  return failures == 0 ? 0 : 1;
}
