// The CUDA side on a driver without a GPU (fakes/cuda_driver.c), which records every call. A check of the
// calls, not of what a GPU does with them.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "backend/cuda/cuda_feed.hpp"
#include "backend/cuda/cuda_prune.hpp"
#include "check.hpp"
#include "fake_driver.hpp"

namespace ziprerank {
namespace {

using check::Fake;
using check::Hex;
using check::Lines;

#if defined(__APPLE__)
constexpr const char* kOtherLibrary = "libSystem.B.dylib";
#else
constexpr const char* kOtherLibrary = "libm.so.6";
#endif

// A kernels/ directory: the table of kernels/launch.py for float32, files that hold no code.
std::string WriteKernels(const std::string& shared = "64", const std::string& replace = "",
                         const std::string& by = "") {
  const std::filesystem::path& folder = check::TempFolder();
  std::string text =
      "ziprerank-kernels 1\nmodel 6 2 fp32\n"
      "kernel text_scales T\nargument text *fp32\nargument query_mask *u8\nargument order *i32\n"
      "argument scale *fp32\nargument count *i32\nargument T i32\n"
      "argument global_scratch *i8\nargument profile_scratch *i8\n"
      "target 90 cubin one.cubin text_scales 128 8 64\ntarget 80 ptx one.ptx text_scales 128 8 64\n"
      "kernel relevance_scores N\nargument pool *fp32\nargument rows *i64\nargument text *fp32\n"
      "argument order *i32\nargument scale *fp32\nargument count *i32\nargument relevance *fp32\nargument N "
      "i32\n"
      "argument global_scratch *i8\nargument profile_scratch *i8\n"
      "target 90 cubin one.cubin relevance_scores 256 64 SHARED\ntarget 80 ptx one.ptx relevance_scores 256 "
      "64 0\n"
      "kernel select_kept K\nargument relevance *fp32\nargument page_offsets *i64\nargument keep *i64\n"
      "argument kept *i64\nargument status *i32\nargument global_scratch *i8\nargument profile_scratch *i8\n"
      "target 90 cubin one.cubin select_kept 128 1 16\ntarget 80 ptx one.ptx select_kept 128 1 16\n";
  text.replace(text.find("SHARED"), 6, shared);
  if (!replace.empty()) text.replace(text.find(replace), replace.size(), by);
  std::ofstream(folder / "launch.txt") << text;
  std::ofstream(folder / "one.ptx") << ".version 8.8";
  std::string elf(0x48, '\0');
  std::memcpy(elf.data(), "\177ELF", 4);
  elf[0x28] = 0x48;
  std::ofstream(folder / "one.cubin", std::ios::binary) << elf;
  return folder.string();
}

// A window whose tensors are host memory, which is what the fake calls the device's.
struct Case {
  Case(const std::vector<std::int64_t>& sizes, std::int64_t text_rows, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const std::int64_t size : sizes) {
      offsets.push_back(offsets.back() + size);
      keep.push_back(1 + static_cast<std::int64_t>(random()) % size);
    }
    for (std::int64_t v = 0; v < offsets.back(); ++v) rows.push_back(offsets.back() + 2 - v);
    pool.resize(static_cast<std::size_t>(offsets.back() + 3) * 2 * 6);
    text.resize(static_cast<std::size_t>(text_rows) * 6);
    for (float& value : pool) value = normal(random);
    for (float& value : text) value = normal(random);
    mask.resize(static_cast<std::size_t>(text_rows));
    for (std::uint8_t& used : mask) used = random() % 3 != 0;
    mask.back() = 1;
  }
  PruneInputs Inputs() const {
    return {.element = Element::kF32,
            .pool = pool.data(),
            .pool_rows = std::ssize(pool) / 12,
            .levels = 2,
            .hidden = 6,
            .rows = rows.data(),
            .visual = std::ssize(rows),
            .page_offsets = offsets.data(),
            .keep = keep.data(),
            .pages = std::ssize(keep),
            .text = text.data(),
            .query_mask = reinterpret_cast<const bool*>(mask.data()),
            .text_rows = std::ssize(mask)};
  }
  std::vector<float> pool, text;
  std::vector<std::int64_t> rows, offsets = {0}, keep;
  std::vector<std::uint8_t> mask;
};

// A 16-byte aligned piece of host memory.
struct Memory {
  explicit Memory(std::size_t bytes) : data(std::aligned_alloc(256, (bytes + 255) / 256 * 256)) {}
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data;
};

const cuda::Stream kStream = reinterpret_cast<cuda::Stream>(0xabcd0);

std::vector<std::int64_t> Launch(const CudaPrune& prune, const PruneInputs& in) {
  const std::int64_t count = CheckPages(in);
  const Memory kept(static_cast<std::size_t>(count) * 8);
  const Memory scratch(CudaPrune::ScratchBytes(in));
  prune.Launch(in, static_cast<std::int64_t*>(kept.data), scratch.data, kStream);
  const auto* values = static_cast<const std::int64_t*>(kept.data);
  return {values, values + count};
}

}  // namespace

TEST(cuda_launches_compute_what_the_cpu_computes) {
  Fake fake;
  fake.Set("HIDDEN", "6");
  fake.Set("LEVELS", "2");
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  const CudaPrune prune(context, WriteKernels());
  CHECK(prune.choice() == "sm_90 cubin" && prune.hidden_size() == 6 && prune.levels() == 2);
  unsigned seed = 0;
  // 32 pages and 64 tokens fill their pieces of the scratch memory to the last byte
  const std::vector<std::vector<std::int64_t>> pages = {
      {1}, {64}, {3, 65, 1, 130}, std::vector<std::int64_t>(32, 3)};
  for (const std::int64_t text : {1, 8, 9, 64, 65, 200}) {
    for (const std::vector<std::int64_t>& sizes : pages) {
      const Case window(sizes, text, ++seed);
      const PruneInputs in = window.Inputs();
      std::vector<std::int64_t> want(static_cast<std::size_t>(CheckPrune(in)));
      Prune(
          in, *PruneKernels().front(),
          [](std::int64_t count, const std::function<void(std::int64_t)>& task) {
            for (std::int64_t i = 0; i < count; ++i) task(i);
          },
          want.data());
      CHECK(Launch(prune, in) == want);
    }
  }
}

TEST(cuda_launches_in_order_with_the_tables_numbers) {
  Fake fake;
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  const CudaPrune prune(context, WriteKernels("180224"));
  const Lines allowed = fake.Calls({"cuFuncSetAttribute"});
  CHECK(allowed.size() == 1 && allowed[0].ends_with(" 8 180224"));  // of the one kernel that takes over 48 KB

  const Case window({100, 30}, 17, 1);
  const PruneInputs in = window.Inputs();
  const Memory kept(130 * 8);
  const Memory scratch(CudaPrune::ScratchBytes(in));
  fake.Clear();
  prune.Launch(in, static_cast<std::int64_t*>(kept.data), scratch.data, kStream);
  const auto piece = [&](std::size_t i) { return Hex(static_cast<std::byte*>(scratch.data) + 256 * i); };
  // page_offsets, keep, order, scale and count are one piece each; 130 relevances take three
  const std::string offsets = piece(0), keep = piece(1), order = piece(2), scale = piece(3), count = piece(4),
                    relevance = piece(5), status = piece(8);
  const std::string null = " 8:0 8:0";
  const Lines calls = fake.Calls({"cuMemcpyHtoDAsync", "cuLaunchKernel"});
  CHECK(calls ==
        Lines{Text("cuMemcpyHtoDAsync ", offsets, " 24 ", Hex(kStream)),
              Text("cuMemcpyHtoDAsync ", keep, " 16 ", Hex(kStream)),
              Text("cuLaunchKernel text_scales 3 1 1 128 1 1 64 ", Hex(kStream), " (nil) 8:", Hex(in.text),
                   " 8:", Hex(in.query_mask), " 8:", order, " 8:", scale, " 8:", count, " 4:17", null),
              Text("cuLaunchKernel relevance_scores 3 1 1 256 1 1 180224 ", Hex(kStream),
                   " (nil) 8:", Hex(in.pool), " 8:", Hex(in.rows), " 8:", Hex(in.text), " 8:", order,
                   " 8:", scale, " 8:", count, " 8:", relevance, " 4:130", null),
              Text("cuLaunchKernel select_kept 2 1 1 128 1 1 16 ", Hex(kStream), " (nil) 8:", relevance,
                   " 8:", offsets, " 8:", keep, " 8:", Hex(kept.data), " 8:", status, null)});
}

TEST(cuda_devices_without_a_cubin_take_the_ptx) {
  Fake fake;
  fake.Set("CAPABILITY", "87");
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  CHECK(context.name() == "Fake GPU" && context.capability() == 87);
  CHECK(CudaPrune(context, WriteKernels()).choice() == "sm_80 ptx");
}

TEST(cuda_errors_say_what_is_missing) {
  Fake fake;
  CHECK_THROWS(kProvider, "the NVIDIA driver's library cannot be loaded (nowhere/libcuda.so.1",
               CudaContext("nowhere/libcuda.so.1", 0));
  CHECK_THROWS(kProvider, std::string(kOtherLibrary) + " has no cuInit: it is no NVIDIA driver",
               CudaContext(kOtherLibrary, 0));
  fake.Set("FAIL", "cuInit:100");
  CHECK_THROWS(kProvider,
               "no NVIDIA GPU can be used: cuInit failed: no CUDA-capable device is detected (100)",
               CudaContext(FAKE_CUDA_DRIVER, 0));
  fake.Set("FAIL", "cuDevicePrimaryCtxRetain:4242");
  CHECK_THROWS(kProvider,
               "cuda:0 cannot be used: cuDevicePrimaryCtxRetain failed: a status without a text (4242)",
               CudaContext(FAKE_CUDA_DRIVER, 0));
  fake.Set("FAIL", "");
  CHECK_THROWS(kProvider, "there is no cuda:1: the driver shows 1 device, counted from 0",
               CudaContext(FAKE_CUDA_DRIVER, 1));
  fake.Set("DEVICES", "0");
  CHECK_THROWS(kProvider, "the driver shows 0 devices", CudaContext(FAKE_CUDA_DRIVER, 0));
}

TEST(cuda_kernels_that_do_not_load) {
  Fake fake;
  fake.Set("CAPABILITY", "75");
  {
    const CudaContext old(FAKE_CUDA_DRIVER, 0);
    CHECK_THROWS(kBundle, "compute capability 7.5: the bundle holds it for 9.0, 8.0 or newer (PTX)",
                 CudaPrune(old, WriteKernels()));
  }
  fake.Set("CAPABILITY", "86");
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  CHECK_THROWS(kBundle, "takes surprise as *i32, which this engine does not know: upgrade",
               CudaPrune(context, WriteKernels("0", "argument order", "argument surprise")));
  CHECK_THROWS(kBundle, "takes rows as *i32",
               CudaPrune(context, WriteKernels("0", "rows *i64", "rows *i32")));
  CHECK_THROWS(kBundle, "covers order, this engine knows T, N and K",
               CudaPrune(context, WriteKernels("0", "text_scales T", "text_scales order")));
  CHECK_THROWS(kBundle, "gone.ptx cannot be read",
               CudaPrune(context, WriteKernels("0", "one.ptx", "gone.ptx")));
  fake.Set("FAIL", "cuModuleLoadDataEx:222");
  CHECK_THROWS(kBundle, "(222), ptxas says why; PTX needs a driver of CUDA 12.9",
               CudaPrune(context, WriteKernels()));
  fake.Set("FAIL", "cuModuleGetFunction:500");
  fake.Clear();
  CHECK_THROWS(kBundle, "one.ptx cannot be loaded on Fake GPU: cuModuleGetFunction failed",
               CudaPrune(context, WriteKernels()));
  CHECK(fake.Calls({"cuModuleUnload"}).size() == 1);
}

TEST(cuda_launches_that_fail) {
  Fake fake;
  const CudaContext context(FAKE_CUDA_DRIVER, 0);
  const CudaPrune prune(context, WriteKernels());
  const Case window({10}, 3, 1);
  PruneInputs in = window.Inputs();
  fake.Set("FAIL", "cuLaunchKernel:719");
  CHECK_THROWS(kRuntime, "cuLaunchKernel failed: unspecified launch failure (719)", Launch(prune, in));
  fake.Set("FAIL", "");
  in.rows = reinterpret_cast<const std::int64_t*>(reinterpret_cast<const std::byte*>(in.rows) + 8);
  CHECK_THROWS(kRuntime, "rows is not aligned to 16 bytes", Launch(prune, in));
  in = window.Inputs();
  in.hidden = 5;
  CHECK_THROWS(kInvalidArgument, "pool has 2 levels of 5, the kernels were compiled for 2 of 6",
               Launch(prune, in));
}

TEST(cuda_gives_everything_back) {
  Fake fake;
  {
    const CudaContext context(FAKE_CUDA_DRIVER, 0);
    const CudaPrune prune(context, WriteKernels());
    const CudaStream compute(context);
    CudaFeeds feeds(context, compute);
    for (int page = 0; page < 4; ++page) feeds.Next(static_cast<std::size_t>(4 + page), 12)->Send();
  }
  const std::pair<const char*, const char*> pairs[] = {
      {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"},
      {"cuModuleLoadDataEx", "cuModuleUnload"},
      {"cuMemAlloc", "cuMemFree"},
      {"cuMemHostAlloc", "cuMemFreeHost"},
      {"cuStreamCreate", "cuStreamDestroy"},
      {"cuEventCreate", "cuEventDestroy"}};
  for (const auto& [take, give] : pairs) {
    CHECK(!fake.Calls({take}).empty());
    CHECK(fake.Calls({take}).size() == fake.Calls({give}).size());
  }
}

}  // namespace ziprerank
