#include "backend/cuda/cuda_prune.hpp"

#include <array>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/read_file.hpp"
#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr std::size_t kAlignment = 16;          // of every pointer, as the kernels were compiled for
constexpr std::size_t kScratchAlignment = 256;  // of every piece of the scratch memory: whole cache lines
constexpr unsigned kUsualShared = 48 * 1024;    // bytes of shared memory that need no permission

// Everything that a kernel can take, by the table's names. "*T" stands for the bundle's precision.
enum Value : std::size_t {
  kPool,
  kRows,
  kPageOffsets,
  kKeep,
  kText,
  kQueryMask,
  kKept,  // the operator's inputs and output
  kOrder,
  kScale,
  kCount,
  kRelevance,
  kStatus,  // scratch
  kGlobalScratch,
  kProfileScratch,  // Triton's own: null
  kT,
  kN,
  kK,
  kValues
};  // clang-format off
struct Known { const char* name; const char* type; };
constexpr std::array<Known, kValues> kKnown = {{
    {"pool", "*T"}, {"rows", "*i64"}, {"page_offsets", "*i64"}, {"keep", "*i64"}, {"text", "*T"},
    {"query_mask", "*u8"}, {"kept", "*i64"},
    {"order", "*i32"}, {"scale", "*fp32"}, {"count", "*i32"}, {"relevance", "*fp32"}, {"status", "*i32"},
    {"global_scratch", "*i8"}, {"profile_scratch", "*i8"},
    {"T", "i32"}, {"N", "i32"}, {"K", "i32"},
}};
// clang-format on

std::size_t Find(const std::string& name) {
  std::size_t value = 0;
  while (value < kValues && name != kKnown[value].name) ++value;
  return value;
}

std::string TypeOf(std::size_t value, const std::string& precision) {
  const std::string type = kKnown[value].type;
  return type == "*T" ? "*" + precision : type;
}

// A piece of the scratch memory: bytes of it, rounded up so that the next one is aligned.
constexpr std::size_t Piece(std::int64_t count, std::size_t size) {
  const std::size_t bytes = static_cast<std::size_t>(count) * size;
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

std::string ReadFile(const std::string& file) {
  constexpr std::size_t kMostBytes = std::size_t{64} << 20;
  const std::optional<std::string> content = ReadBundleFile(file, kMostBytes);
  if (!content || content->empty()) {
    throw BundleError(Text(file, " cannot be read: copy or export the bundle again"));
  }
  return *content;
}

}  // namespace

CudaPrune::CudaPrune(const CudaContext& context, const std::string& directory)
    : context_(context), table_(ReadLaunchTable((std::filesystem::path(directory) / "launch.txt").string())) {
  const CudaContext::Use use(context_);
  try {
    for (const LaunchTable::Kernel& kernel : table_.kernels) kernels_.push_back(Load(directory, kernel));
  } catch (...) {
    Unload();
    throw;
  }
  const LaunchTable::Target& first = *kernels_.front().target;
  choice_ = Text("sm_", first.capability, first.ptx ? " ptx" : " cubin");
}

CudaPrune::~CudaPrune() {
  context_.Quietly([this](const CudaDriver&) { Unload(); });
}

void CudaPrune::Unload() noexcept {
  for (const Loaded& kernel : kernels_) context_.driver().unload_module.Quietly(kernel.module);
}

CudaPrune::Loaded CudaPrune::Load(const std::string& directory, const LaunchTable::Kernel& kernel) const {
  Loaded loaded;
  loaded.target = &ChooseTarget(kernel, context_.capability());
  loaded.length = Find(kernel.length);
  if (loaded.length != kT && loaded.length != kN && loaded.length != kK) {
    throw BundleError(Text("kernel ", kernel.name, " covers ", kernel.length,
                           ", this engine knows T, N and K: upgrade ziprerank"));
  }
  for (const LaunchTable::Argument& argument : kernel.arguments) {
    const std::size_t value = Find(argument.name);
    if (value == kValues || argument.type != TypeOf(value, table_.precision)) {
      throw BundleError(Text("kernel ", kernel.name, " takes ", argument.name, " as ", argument.type,
                             ", which this engine does not know: upgrade ziprerank"));
    }
    loaded.parameters.push_back(value);
  }

  const std::string file = (std::filesystem::path(directory) / loaded.target->file).string();
  const std::string code = ReadFile(file);  // PTX has to end with a NUL, as c_str does
  std::array<char, 1024> log{};
  std::array<int, 2> options = {cuda::kJitErrorLog, cuda::kJitErrorLogSize};
  std::array<void*, 2> values = {log.data(), reinterpret_cast<void*>(log.size())};
  const CudaDriver& driver = context_.driver();
  try {
    driver.load_module(&loaded.module, code.c_str(), options.size(), options.data(), values.data());
    driver.function(&loaded.function, loaded.module, loaded.target->entry.c_str());
    if (loaded.target->shared > kUsualShared) {
      driver.set_function_attribute(loaded.function, cuda::kMaxDynamicShared,
                                    static_cast<int>(loaded.target->shared));
    }
  } catch (const RuntimeFailure& error) {
    if (loaded.module != nullptr) driver.unload_module.Quietly(loaded.module);
    throw BundleError(Text(file, " cannot be loaded on ", context_.name(), ": ", error.what(),
                           log[0] != '\0' ? ", " : "", log.data(),
                           loaded.target->ptx ? "; PTX needs a driver of CUDA 12.9 or newer" : ""));
  }
  return loaded;
}

std::size_t CudaPrune::ScratchBytes(const PruneInputs& in) {
  return Piece(in.pages + 1, 8) + Piece(in.pages, 8) + 2 * Piece(in.text_rows, 4) + Piece(1, 4) +
         Piece(in.visual, 4) + Piece(in.pages, 4);
}

void CudaPrune::Launch(const PruneInputs& in, std::int64_t* kept, void* scratch, cuda::Stream stream) const {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (in.hidden != table_.hidden_size || in.levels != table_.levels) {
    throw InvalidArgument(Text("pool has ", in.levels, " levels of ", in.hidden,
                               ", the kernels were compiled for ", table_.levels, " of ",
                               table_.hidden_size));
  }
  if (in.text_rows > kMost || in.visual > kMost) {
    throw InvalidArgument(Text(in.text_rows, " text and ", in.visual, " visual tokens, at most ", kMost));
  }

  const auto address = [](const void* pointer) { return reinterpret_cast<cuda::Address>(pointer); };
  cuda::Address next = address(scratch);
  const auto take = [&next](std::int64_t count, std::size_t size) {
    const cuda::Address piece = next;
    next += Piece(count, size);
    return piece;
  };
  std::array<std::uint64_t, kValues> values{};
  values[kPool] = address(in.pool);
  values[kRows] = address(in.rows);
  values[kText] = address(in.text);
  values[kQueryMask] = address(in.query_mask);
  values[kKept] = address(kept);
  values[kPageOffsets] = take(in.pages + 1, 8);
  values[kKeep] = take(in.pages, 8);
  values[kOrder] = take(in.text_rows, 4);
  values[kScale] = take(in.text_rows, 4);
  values[kCount] = take(1, 4);
  values[kRelevance] = take(in.visual, 4);
  values[kStatus] = take(in.pages, 4);
  values[kT] = static_cast<std::uint64_t>(in.text_rows);
  values[kN] = static_cast<std::uint64_t>(in.visual);
  values[kK] = static_cast<std::uint64_t>(in.pages);

  const CudaContext::Use use(context_);
  const CudaDriver& driver = context_.driver();
  // From pageable memory: the driver has taken a copy when the calls return, so nothing has to be kept or
  // awaited.
  driver.copy_to_device(values[kPageOffsets], in.page_offsets, static_cast<std::size_t>(in.pages + 1) * 8,
                        stream);
  driver.copy_to_device(values[kKeep], in.keep, static_cast<std::size_t>(in.pages) * 8, stream);
  for (std::size_t i = 0; i < kernels_.size(); ++i) {
    const Loaded& kernel = kernels_[i];
    std::vector<void*> parameters;
    for (const std::size_t value : kernel.parameters) {
      if (kKnown[value].type[0] == '*' && values[value] % kAlignment != 0) {
        throw RuntimeFailure(Text(kKnown[value].name, " is not aligned to ", kAlignment, " bytes"));
      }
      parameters.push_back(&values[value]);  // an i32 is read from its low half: little-endian
    }
    const std::uint64_t step = kernel.target->grid_step;
    const auto grid = static_cast<unsigned>((values[kernel.length] + step - 1) / step);
    driver.launch(kernel.function, grid, 1, 1, kernel.target->threads, 1, 1, kernel.target->shared, stream,
                  parameters.data(), nullptr);
  }
}

}  // namespace ziprerank
