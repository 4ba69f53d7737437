// kernels/launch.txt of a bundle: which kernels a window launches, with which arguments, from which file for
// which GPU (docs/bundle.md).
#ifndef ZIPRERANK_LAUNCH_TABLE_HPP_
#define ZIPRERANK_LAUNCH_TABLE_HPP_

#include <cstdint>
#include <string>
#include <vector>

namespace ziprerank {

struct LaunchTable {
  struct Argument {
    std::string name;
    std::string type;  // "i32", or "*" and the element
  };
  struct Target {
    int capability = 0;  // 90 is 9.0
    bool ptx = false;
    std::string file;
    std::string entry;
    unsigned threads = 0;
    unsigned grid_step = 0;
    unsigned shared = 0;  // bytes
  };
  struct Kernel {
    std::string name;
    std::string length;  // what the grid covers: T, N or K
    std::vector<Argument> arguments;
    std::vector<Target> targets;
  };

  std::int64_t hidden_size = 0;
  std::int64_t levels = 0;
  std::string precision;
  std::vector<Kernel> kernels;  // in launch order
};

// BundleError names the file, and the line that it cannot read.
LaunchTable ReadLaunchTable(const std::string& file);

// The cubin for exactly this compute capability, else the PTX if the device is at least as new; BundleError
// names the capability and what there is.
const LaunchTable::Target& ChooseTarget(const LaunchTable::Kernel& kernel, int capability);

}  // namespace ziprerank

#endif  // ZIPRERANK_LAUNCH_TABLE_HPP_
