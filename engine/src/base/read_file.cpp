#include "base/read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

}  // namespace

std::optional<std::string> ReadBundleFile(const std::string& file, std::size_t most) {
  const Descriptor opened{open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (opened.number < 0) return std::nullopt;
  struct stat status;
  if (fstat(opened.number, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw BundleError(Text(file, " is no regular file: copy or export the bundle again"));
  }
  std::string content;
  char block[1 << 16];
  for (;;) {
    const ssize_t got = read(opened.number, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw BundleError(Text(file, " cannot be read: ", std::strerror(errno)));
    if (got == 0) return content;
    content.append(block, static_cast<std::size_t>(got));
    if (content.size() > most) {
      throw BundleError(
          Text(file, " has more than ", most, " bytes, which no export writes: export the bundle again"));
    }
  }
}

}  // namespace ziprerank
