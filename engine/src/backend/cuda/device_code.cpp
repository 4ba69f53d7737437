// What nvcc writes into the section `.nv_fatbin`: a row of containers, aligned, with zeros in between: magic
// 0xBA55ED50 (u32), version and header size (u16 each), bytes that follow (u64). In each is a row of entries:
// kind (u16: 1 PTX, 2 machine code), version (u16), header size (u32), bytes of the code (u64), and at offset
// 28 the architecture (u32: 90 for 9.0). NVIDIA documents none of it; `cuobjdump -lelf` and `-lptx` list the
// same entries.
#include "ziprerank/device_code.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <set>
#include <string_view>

#include "base/capability.hpp"
#include "base/text.hpp"

namespace ziprerank {
namespace {

constexpr std::string_view kElf64(
    "\x7f"
    "ELF\x02\x01",
    6);
constexpr std::string_view kSection(".nv_fatbin", 11);     // with the zero at its end
constexpr std::string_view kMagic("\x50\xed\x55\xba", 4);  // 0xBA55ED50
constexpr std::uint64_t kContainerHeader = 16;
constexpr std::uint64_t kEntryHeader = 32;
constexpr int kPtx = 1;

// A file's bytes, in memory as they are read; none where it cannot be opened.
class Mapping {
 public:
  explicit Mapping(const std::string& file) {
    const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    struct stat status{};
    if (fstat(descriptor, &status) == 0 && status.st_size > 0) {
      size_ = static_cast<std::size_t>(status.st_size);
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    close(descriptor);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  std::string_view bytes() const {
    return data_ == MAP_FAILED ? std::string_view()
                               : std::string_view(static_cast<const char*>(data_), size_);
  }

 private:
  void* data_ = MAP_FAILED;
  std::size_t size_ = 0;
};

// The number at an offset; 0 past the end.
template <typename Number>
std::uint64_t At(std::string_view bytes, std::uint64_t offset) {
  Number value = 0;
  if (offset <= bytes.size() && bytes.size() - offset >= sizeof value) {
    std::memcpy(&value, bytes.data() + offset, sizeof value);
  }
  return value;
}

std::string_view Part(std::string_view bytes, std::uint64_t offset, std::uint64_t size) {
  return offset < bytes.size() ? bytes.substr(offset, size) : std::string_view();
}

struct Found {
  std::set<int> machine;
  std::set<int> ptx;
};

void AddEntries(std::string_view entries, Found* found) {
  while (entries.size() >= kEntryHeader) {
    const int architecture = static_cast<int>(At<std::uint32_t>(entries, 28));
    (At<std::uint16_t>(entries, 0) == kPtx ? found->ptx : found->machine).insert(architecture);
    const std::uint64_t header = std::max(At<std::uint32_t>(entries, 4), kEntryHeader);
    entries = Part(Part(entries, header, entries.size()), At<std::uint64_t>(entries, 8), entries.size());
  }
}

void AddContainers(std::string_view section, Found* found) {
  for (std::size_t at = section.find(kMagic); at != std::string_view::npos; at = section.find(kMagic)) {
    section.remove_prefix(at);
    const std::uint64_t header = std::max(At<std::uint16_t>(section, 6), kContainerHeader);
    const std::string_view entries = Part(section, header, At<std::uint64_t>(section, 8));
    AddEntries(entries, found);
    section = Part(section, header + entries.size(), section.size());
  }
}

std::string Dotted(const std::vector<int>& capabilities) {
  std::string text;
  for (const int one : capabilities) text += (text.empty() ? "" : ", ") + CapabilityText(one);
  return text;
}

// GPUs of Jetson, which share a major version with others, and run none of their machine code.
bool Alone(int capability) { return capability == 72 || capability == 87; }

}  // namespace

bool DeviceCode::runs_on(int capability) const {
  if (machine.empty() && ptx.empty()) return true;
  const auto runs = [capability](int one) {
    if (Alone(one) || Alone(capability)) return one == capability;
    return one / 10 == capability / 10 && one <= capability;
  };
  const auto compiles = [capability](int one) { return one <= capability; };
  return std::any_of(machine.begin(), machine.end(), runs) || std::any_of(ptx.begin(), ptx.end(), compiles);
}

std::string DeviceCode::text() const {
  if (machine.empty() && ptx.empty()) return "none";
  if (ptx.empty()) return Dotted(machine);
  return Dotted(machine) + (machine.empty() ? "PTX of " : " and PTX of ") + Dotted(ptx);
}

std::string DeviceCode::lack(int capability, int index) const {
  if (runs_on(capability)) return "";
  return Text(
      "code for compute capability ", CapabilityText(capability), " (cuda:", index,
      ") in onnxruntime-gpu, which has it for ", text(),
      ": docs/gpu.md says which wheels have what; provider tensorrt-rtx, or an ONNX Runtime built for "
      "this GPU, would do");
}

DeviceCode ReadDeviceCode(const std::string& library) {
  const Mapping mapping(library);
  const std::string_view file = mapping.bytes();
  Found found;
  if (file.starts_with(kElf64)) {
    // the table of sections, whose headers have a name at 0, an offset at 24 and a size at 32
    const std::uint64_t table = At<std::uint64_t>(file, 0x28);
    const std::uint64_t size = At<std::uint16_t>(file, 0x3A);
    const auto header = [&](std::uint64_t number) { return Part(file, table + number * size, size); };
    const std::uint64_t names = At<std::uint64_t>(header(At<std::uint16_t>(file, 0x3E)), 24);
    for (std::uint64_t i = 0; i < At<std::uint16_t>(file, 0x3C); ++i) {
      const std::string_view section = header(i);
      if (!Part(file, names + At<std::uint32_t>(section, 0), kSection.size()).starts_with(kSection)) continue;
      AddContainers(Part(file, At<std::uint64_t>(section, 24), At<std::uint64_t>(section, 32)), &found);
    }
  }
  return {{found.machine.begin(), found.machine.end()}, {found.ptx.begin(), found.ptx.end()}};
}

}  // namespace ziprerank
