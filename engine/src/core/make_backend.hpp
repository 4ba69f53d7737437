// The factory of backends: the one place that knows all of them.
#ifndef ZIPRERANK_MAKE_BACKEND_HPP_
#define ZIPRERANK_MAKE_BACKEND_HPP_

#include <memory>

#include "backend/backend.hpp"
#include "ort/runtime.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

// The backend of `options.provider`. ProviderError says what it lacks.
std::unique_ptr<Backend> MakeBackend(const Runtime& runtime, const EngineOptions& options);

}  // namespace ziprerank

#endif  // ZIPRERANK_MAKE_BACKEND_HPP_
