// Carries patches to the GPU in a few sets of buffers, used in turn, so that a page is prepared and copied
// while the pages before it are still being encoded.
#ifndef ZIPRERANK_CUDA_FEED_HPP_
#define ZIPRERANK_CUDA_FEED_HPP_

#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "backend/backend.hpp"
#include "backend/cuda/cuda_context.hpp"

namespace ziprerank {

// A stream that waits for no other one.
class CudaStream {
 public:
  explicit CudaStream(const CudaContext& context);
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream();
  cuda::Stream get() const { return stream_; }

 private:
  const CudaContext& context_;
  cuda::Stream stream_ = nullptr;
};

class CudaFeeds {
 public:
  // Pages are encoded on `compute`, which outlives this.
  CudaFeeds(const CudaContext& context, const CudaStream& compute);
  ~CudaFeeds();

  // Returns the next set of buffers. Waits until a thread has given one back, and until the GPU has read it.
  std::unique_ptr<PageFeed> Next(std::size_t patches, std::size_t patch_bytes);

 private:
  class Feed;
  struct Buffers;
  static constexpr std::size_t kSets = 3;  // one being encoded, one copied, one filled

  const CudaContext& context_;
  const CudaStream& compute_;
  const CudaStream copies_;
  std::array<std::unique_ptr<Buffers>, kSets> sets_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::deque<Buffers*> idle_;  // the longest unused first
};

}  // namespace ziprerank

#endif  // ZIPRERANK_CUDA_FEED_HPP_
