#include "bundle/launch_table.hpp"

#include <fstream>

#include "check.hpp"

namespace ziprerank {
namespace {

constexpr const char* kGood =
    "ziprerank-kernels 1\n"
    "model 64 4 bf16\n"
    "kernel text_scales T\n"
    "argument text *bf16\n"
    "argument T i32\n"
    "target 80 cubin a.cubin text_scales 128 8 64\n"
    "target 90 cubin b.cubin text_scales 256 16 180224\n"
    "target 80 ptx a.ptx text_scales 128 8 64\n"
    "kernel select_kept K\n"
    "target 120 cubin c.cubin select_kept 128 1 0\n";

LaunchTable Parse(const std::string& text) {
  const std::string file = (check::TempFolder() / "launch.txt").string();
  std::ofstream(file) << text;
  return ReadLaunchTable(file);
}

// kGood with one piece of text replaced.
LaunchTable ParseWith(const std::string& old_text, const std::string& new_text) {
  std::string text = kGood;
  text.replace(text.find(old_text), old_text.size(), new_text);
  return Parse(text);
}

}  // namespace

TEST(launch_table_reads) {
  const LaunchTable table = Parse(kGood);
  CHECK(table.hidden_size == 64 && table.levels == 4 && table.precision == "bf16");
  CHECK(table.kernels.size() == 2);
  const LaunchTable::Kernel& kernel = table.kernels[0];
  CHECK(kernel.name == "text_scales" && kernel.length == "T");
  CHECK(kernel.arguments.size() == 2 && kernel.arguments[0].name == "text" &&
        kernel.arguments[0].type == "*bf16");
  CHECK(kernel.targets.size() == 3);
  const LaunchTable::Target& target = kernel.targets[1];
  CHECK(target.capability == 90 && !target.ptx && target.file == "b.cubin" && target.entry == "text_scales");
  CHECK(target.threads == 256 && target.grid_step == 16 && target.shared == 180224);
  CHECK(table.kernels[1].arguments.empty() && table.kernels[1].targets[0].capability == 120);
}

TEST(launch_table_chooses_the_capability_then_the_ptx) {
  const LaunchTable table = Parse(kGood);
  const auto file = [&](int capability) { return ChooseTarget(table.kernels[0], capability).file; };
  CHECK(file(80) == "a.cubin");
  CHECK(file(90) == "b.cubin");
  CHECK(file(86) == "a.ptx");  // not the cubin of 8.0
  CHECK(file(121) == "a.ptx");
  CHECK_THROWS(kBundle,
               "kernel text_scales cannot run on compute capability 7.5: the bundle holds it for 8.0, 9.0, "
               "8.0 or newer (PTX)",
               ChooseTarget(table.kernels[0], 75));
  CHECK_THROWS(kBundle, "cannot run on compute capability 12.1: the bundle holds it for 12.0;",
               ChooseTarget(table.kernels[1], 121));
}

TEST(launch_table_refuses) {
  CHECK_THROWS(kBundle, "export the bundle with --target cuda --kernels",
               ReadLaunchTable("nowhere/launch.txt"));
  CHECK_THROWS(kBundle, "is no launch table", ParseWith("ziprerank-kernels", "something-else"));
  CHECK_THROWS(kBundle, "has format version 2, this engine reads 1 to 1",
               ParseWith("kernels 1", "kernels 2"));
  CHECK_THROWS(kBundle, "line 2: cannot read 'model 64 4'", ParseWith("4 bf16", "4"));
  CHECK_THROWS(kBundle, "line 2: cannot read", ParseWith("4 bf16", "4 bf16 more"));
  CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("128 8 64", "128 0 64"));
  CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("128 8 64", "many 8 64"));
  for (const char* sizes : {"-5 8 64", "128 -8 64", "128 8 -64", "1025 8 64", "128 8 1048577"}) {
    CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("128 8 64", sizes));
  }
  CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("128 8 64", std::string(400, '9') + " 8 64"));
  CHECK_THROWS(kBundle, " bytes)", ParseWith("128 8 64", std::string(9000, 'x')));
  CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("80 cubin a.cubin", "80 cubin ../a.cubin"));
  CHECK_THROWS(kBundle, "line 6: cannot read", ParseWith("80 cubin a.cubin", "80 binary a.cubin"));
  CHECK_THROWS(kBundle, "line 3: cannot read 'argument text *bf16'", ParseWith("kernel text_scales T\n", ""));
  CHECK_THROWS(kBundle, "cannot read 'surprise'", ParseWith("kernel text_scales T", "surprise"));
  CHECK_THROWS(kBundle, "has no model or no kernels", Parse("ziprerank-kernels 1\n"));
}

}  // namespace ziprerank
