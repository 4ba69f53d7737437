#include "base/cpus.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>

#include "check.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {
namespace {

// The quota that is read below a folder with these files.
int QuotaWith(std::initializer_list<std::pair<const char*, const char*>> files) {
  const std::filesystem::path root = check::TempFolder() / "cpus";
  std::filesystem::remove_all(root);
  for (const auto& [name, text] : files) {
    std::filesystem::create_directories((root / name).parent_path());
    std::ofstream(root / name) << text;
  }
  return QuotaCpus(root);
}

}  // namespace

TEST(cpus_of_a_v2_quota_are_rounded_up) {
  const auto quota = [](const char* text) {
    return QuotaWith({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", text}});
  };
  CHECK(quota("200000 100000\n") == 2);
  CHECK(quota("150000 100000\n") == 2);
  CHECK(quota("1000 100000\n") == 1);
  CHECK(quota("250000 50000") == 5);
  CHECK(quota("max 100000\n") == 0);
  CHECK(quota("0 100000\n") == 0);
  CHECK(quota("100000 0\n") == 0);
  CHECK(quota("100000\n") == 0);
  CHECK(quota("1e5 100000\n") == 0);
  CHECK(quota("") == 0);
  CHECK(quota("9223372036854775807 1\n") == 0);  // more CPUs than can be counted are no bound
  CHECK(quota("99999999999999999999 1\n") == 0);
}

TEST(cpus_of_the_tightest_group_count) {
  CHECK(QuotaWith({{"proc/self/cgroup", "0::/a/b\n"},
                   {"sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
                   {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"}}) == 3);
  CHECK(QuotaWith({{"proc/self/cgroup", "0::/a/b\n"},
                   {"sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
                   {"sys/fs/cgroup/a/b/cpu.max", "100000 100000\n"}}) == 1);
  CHECK(QuotaWith({{"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/other/cpu.max", "100000 100000\n"}}) ==
        0);
  // the path of the host, seen in a container whose mount begins at its own group
  CHECK(QuotaWith(
            {{"proc/self/cgroup", "0::/docker/0123\n"}, {"sys/fs/cgroup/cpu.max", "400000 100000\n"}}) == 4);
}

TEST(cpus_of_a_v1_quota) {
  const auto quota = [](const char* time) {
    return QuotaWith({{"proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/a\n"},
                      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", time},
                      {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}});
  };
  CHECK(quota("250000\n") == 3);
  CHECK(quota("100000\n") == 1);
  CHECK(quota("-1\n") == 0);
  CHECK(QuotaWith({{"proc/self/cgroup", "4:cpuacct,cpu:/\n"},
                   {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n"},
                   {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}) == 7);
  CHECK(QuotaWith({{"proc/self/cgroup", "4:cpuset:/\n"},
                   {"sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n"},
                   {"sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n"}}) == 0);
}

TEST(cpus_without_control_groups) {
  CHECK(QuotaWith({}) == 0);
  CHECK(QuotaWith({{"proc/self/cgroup", "no colons\n0:one\n"}}) == 0);
}

TEST(cpus_are_at_least_one_and_at_most_those_of_the_mask) {
  CHECK(UsableCpus() >= 1);
#if defined(__linux__)
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) return;  // more than 1024 CPUs
  CHECK(UsableCpus() <= CPU_COUNT(&before));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    break;
  }
  CHECK(UsableCpus() == 1);
  CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
#endif
}

}  // namespace ziprerank
