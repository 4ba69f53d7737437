// The CPU: page features are in ordinary memory, and a call returns when its work is done.
#ifndef ZIPRERANK_CPU_BACKEND_HPP_
#define ZIPRERANK_CPU_BACKEND_HPP_

#include "backend/backend.hpp"

namespace ziprerank {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const Runtime& runtime) : runtime_(runtime) {}
  void Configure(Ort::SessionOptions* options, const std::string& graph) override;
  void Describe(EngineInfo* info) const override;
  Ort::MemoryInfo memory() const override;
  std::unique_ptr<PoolStorage> MakeStorage(std::size_t bytes) const override;
  std::unique_ptr<PageFeed> Feed(std::size_t patches, std::size_t patch_bytes) override;
  Ort::RunOptions EncodeOptions() const override { return Ort::RunOptions(); }
  void Finish() override {}

 private:
  const Runtime& runtime_;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CPU_BACKEND_HPP_
