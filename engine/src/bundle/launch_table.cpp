#include "bundle/launch_table.hpp"

#include <optional>
#include <sstream>

#include "base/capability.hpp"
#include "base/read_file.hpp"
#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr int kFormatVersion = 1;
constexpr unsigned kMostSize = 1U << 20;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;

// Reads the words after a record's first one; false unless they are all there and nothing else is.
template <typename... Values>
bool Read(std::istringstream& line, Values&... values) {
  std::string rest;
  return static_cast<bool>((line >> ... >> values)) && !(line >> rest);
}

bool ReadTarget(std::istringstream& line, LaunchTable::Target* target) {
  std::string kind;
  if (!Read(line, target->capability, kind, target->file, target->entry, target->threads, target->grid_step,
            target->shared)) {
    return false;
  }
  target->ptx = kind == "ptx";
  const bool inside = target->file.find('/') == std::string::npos && target->file != "..";
  // a negative number is read as one of over 2^31; a block has at most 1,024 threads
  return (target->ptx || kind == "cubin") && inside && target->threads > 0 && target->threads <= 1024 &&
         target->grid_step > 0 && target->grid_step <= kMostSize && target->shared <= kMostSize;
}

// One record into the table; false when it cannot be read or stands in the wrong place.
bool ReadRecord(const std::string& kind, std::istringstream& line, LaunchTable* table) {
  if (kind == "model") return Read(line, table->hidden_size, table->levels, table->precision);
  if (kind == "kernel") {
    LaunchTable::Kernel& kernel = table->kernels.emplace_back();
    return Read(line, kernel.name, kernel.length);
  }
  if (table->kernels.empty()) return false;
  if (kind == "argument") {
    LaunchTable::Argument& argument = table->kernels.back().arguments.emplace_back();
    return Read(line, argument.name, argument.type);
  }
  return kind == "target" && ReadTarget(line, &table->kernels.back().targets.emplace_back());
}

}  // namespace

LaunchTable ReadLaunchTable(const std::string& file) {
  const std::optional<std::string> content = ReadBundleFile(file, kMostBytes);
  if (!content) {
    throw BundleError(
        Text(file, " cannot be read: the cuda provider needs the pruning kernels, export the bundle with ",
             "--target cuda --kernels"));
  }
  LaunchTable table;
  std::istringstream stream(*content);
  std::string text;
  for (int number = 1; std::getline(stream, text); ++number) {
    std::istringstream line(text);
    std::string kind;
    line >> kind;
    if (number == 1) {
      int version = 0;
      if (kind != "ziprerank-kernels" || !Read(line, version)) {
        throw BundleError(Text(file, " is no launch table: export the bundle again"));
      }
      if (version < 1 || version > kFormatVersion) {
        throw BundleError(Text(file, " has format version ", version, ", this engine reads 1 to ",
                               kFormatVersion, ": upgrade ziprerank, or export the bundle again"));
      }
    } else if (!ReadRecord(kind, line, &table)) {
      throw BundleError(
          Text(file, ", line ", number, ": cannot read '", Excerpt(text), "': export the bundle again"));
    }
  }
  if (table.precision.empty() || table.kernels.empty()) {
    throw BundleError(Text(file, " has no model or no kernels: export the bundle again"));
  }
  return table;
}

const LaunchTable::Target& ChooseTarget(const LaunchTable::Kernel& kernel, int capability) {
  const LaunchTable::Target* fallback = nullptr;
  std::string held;
  for (const LaunchTable::Target& target : kernel.targets) {
    if (!target.ptx && target.capability == capability) return target;
    if (target.ptx && target.capability <= capability) fallback = &target;
    held += (held.empty() ? "" : ", ") + CapabilityText(target.capability) +
            (target.ptx ? " or newer (PTX)" : "");
  }
  if (fallback != nullptr) return *fallback;
  throw BundleError(
      Text("kernel ", kernel.name, " cannot run on compute capability ", CapabilityText(capability),
           ": the bundle holds it for ", held.empty() ? "none" : held,
           "; export it again with kernels for this GPU, or use provider cpu with a cpu bundle"));
}

}  // namespace ziprerank
