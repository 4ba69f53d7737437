// The compute capability of a GPU, as one number: 90 is 9.0.
#ifndef ZIPRERANK_CAPABILITY_HPP_
#define ZIPRERANK_CAPABILITY_HPP_

#include <string>

#include "base/text.hpp"

namespace ziprerank {

// As NVIDIA writes it: 90 is "9.0".
inline std::string CapabilityText(int capability) { return Text(capability / 10, ".", capability % 10); }

}  // namespace ziprerank

#endif  // ZIPRERANK_CAPABILITY_HPP_
