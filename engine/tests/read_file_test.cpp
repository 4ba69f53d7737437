#include "base/read_file.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "bundle/launch_table.hpp"
#include "bundle/plan.hpp"
#include "check.hpp"

namespace ziprerank {

TEST(read_file_reads_regular_files_only) {
  const std::filesystem::path folder = check::TempFolder();
  const std::string file = (folder / "file").string();
  std::ofstream(file) << "content";
  CHECK(ReadBundleFile(file, 7) == "content");
  CHECK_THROWS(kBundle, "has more than 6 bytes", ReadBundleFile(file, 6));
  CHECK(!ReadBundleFile((folder / "missing").string(), 7));
  CHECK_THROWS(kBundle, "is no regular file", ReadBundleFile(folder.string(), 7));
  const std::string pipe = (folder / "pipe").string();
  CHECK(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS(kBundle, "is no regular file", ReadBundleFile(pipe, 7));
  CHECK_THROWS(kBundle, "is no regular file", ReadBundleFile("/dev/zero", 7));
  CHECK_THROWS(kBundle, "is no regular file", ReadLaunchTable(pipe));
  const std::filesystem::path plan = folder / "tensorrt" / "plan.txt";
  std::filesystem::create_directory(plan.parent_path());
  CHECK(mkfifo(plan.c_str(), 0600) == 0);
  CHECK_THROWS(kBundle, "is no regular file", ReadPlan(folder.string(), "tensorrt"));
}

}  // namespace ziprerank
