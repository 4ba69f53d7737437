// The CPU quota of the control group that this process is in; UsableCpus (engine.hpp) respects it.
#ifndef ZIPRERANK_CPUS_HPP_
#define ZIPRERANK_CPUS_HPP_

#include <filesystem>

namespace ziprerank {

// The smallest CPU quota of this process's control group and the groups around it, in whole CPUs, rounded up:
// cpu.max of cgroup v2, cpu.cfs_quota_us / cpu.cfs_period_us of v1. 0 if there is no quota. Files are read
// below `root`, which is "/" outside of tests: proc/self/cgroup, and the groups in sys/fs/cgroup.
int QuotaCpus(const std::filesystem::path& root);

}  // namespace ziprerank

#endif  // ZIPRERANK_CPUS_HPP_
