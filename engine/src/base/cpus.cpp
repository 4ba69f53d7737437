#include "base/cpus.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ziprerank/engine.hpp"

namespace ziprerank {
namespace {

namespace fs = std::filesystem;

constexpr int kNoQuota = std::numeric_limits<int>::max();

// A file's text up to the first line break; empty if the file cannot be read.
std::string FirstLine(const fs::path& file) {
  std::string line;
  std::getline(std::ifstream(file) >> std::ws, line);
  return line;
}

// The number that is the whole of `text`; none for any other text, such as "max".
std::optional<std::int64_t> ParseNumber(std::string_view text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || last != end) return std::nullopt;
  return number;
}

// `quota` microseconds of CPU time in every `period`, in CPUs. "max", -1 and unreadable numbers are no quota.
int Cpus(std::string_view quota, std::string_view period) {
  const std::optional<std::int64_t> time = ParseNumber(quota);
  const std::optional<std::int64_t> of = ParseNumber(period);
  if (!time || !of || *time <= 0 || *of <= 0) return kNoQuota;
  const std::int64_t whole = *time / *of + (*time % *of != 0 ? 1 : 0);
  return static_cast<int>(std::min<std::int64_t>(whole, kNoQuota));
}

int QuotaOfV2(const fs::path& group) {
  std::istringstream line(FirstLine(group / "cpu.max"));
  std::string quota;
  std::string period;
  line >> quota >> period;
  return Cpus(quota, period);
}

int QuotaOfV1(const fs::path& group) {
  return Cpus(FirstLine(group / "cpu.cfs_quota_us"), FirstLine(group / "cpu.cfs_period_us"));
}

// The smallest quota of the group `path` below `mount` and of all groups around it. In a container the path
// may be the host's, which is not there: the groups around it then end at the mount, which is the
// container's.
int SmallestQuota(const fs::path& mount, const fs::path& path, int (*quota_of)(const fs::path&)) {
  int smallest = quota_of(mount);
  fs::path group = mount;
  for (const fs::path& part : path.relative_path()) {
    group /= part;
    smallest = std::min(smallest, quota_of(group));
  }
  return smallest;
}

bool HasName(std::string_view names, std::string_view wanted) {
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    if (names.substr(0, comma) == wanted) return true;
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return false;
}

#if defined(__linux__)
// CPUs that the calling thread, and each thread that it starts, may run on; 0 if the system does not say.
int AffinityCpus() {
  constexpr std::size_t kMostBits = std::size_t{1} << 18;
  for (std::size_t bits = 1024; bits <= kMostBits;
       bits *= 2) {  // a mask shorter than the kernel's is refused
    std::vector<cpu_set_t> mask(bits / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return 0;
}
#else
int AffinityCpus() { return 0; }
#endif

}  // namespace

int QuotaCpus(const fs::path& root) {
  const fs::path mounts = root / "sys/fs/cgroup";
  int smallest = kNoQuota;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" for v2, "4:cpu,cpuacct:/path" for v1
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path path = line.substr(second + 1);
    if (controllers.empty()) {
      smallest = std::min(smallest, SmallestQuota(mounts, path, QuotaOfV2));
    } else if (HasName(controllers, "cpu")) {
      const fs::path together = mounts / controllers;  // both names are usual for one hierarchy
      smallest = std::min(
          smallest, SmallestQuota(fs::is_directory(together) ? together : mounts / "cpu", path, QuotaOfV1));
    }
  }
  return smallest == kNoQuota ? 0 : smallest;
}

int UsableCpus() {
  int cpus = AffinityCpus();
  if (cpus == 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
  const int quota = QuotaCpus("/");
  if (quota > 0) cpus = std::min(cpus, quota);
  return std::max(cpus, 1);
}

}  // namespace ziprerank
