// How the operators' kernels run tasks on threads that somebody else owns: a session, or a test.
#ifndef ZIPRERANK_PARALLEL_HPP_
#define ZIPRERANK_PARALLEL_HPP_

#include <cstdint>
#include <functional>

namespace ziprerank {

// Runs task(0) .. task(count - 1), in any order, perhaps at once; returns when all have ended. Tasks do not
// throw.
using ParallelFor = std::function<void(std::int64_t count, const std::function<void(std::int64_t)>& task)>;

}  // namespace ziprerank

#endif  // ZIPRERANK_PARALLEL_HPP_
