// The files of a bundle, which came from elsewhere.
#ifndef ZIPRERANK_READ_FILE_HPP_
#define ZIPRERANK_READ_FILE_HPP_

#include <cstddef>
#include <optional>
#include <string>

namespace ziprerank {

// The bytes of a regular file; empty if there is none, or it cannot be opened. BundleError for a folder, a
// pipe or a device, which could be waited for in vain, for a file of more than `most` bytes, and for one that
// cannot be read.
std::optional<std::string> ReadBundleFile(const std::string& file, std::size_t most);

}  // namespace ziprerank

#endif  // ZIPRERANK_READ_FILE_HPP_
