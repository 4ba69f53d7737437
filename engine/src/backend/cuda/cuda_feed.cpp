#include "backend/cuda/cuda_feed.hpp"

namespace ziprerank {
namespace {

class CudaEvent {
 public:
  explicit CudaEvent(const CudaContext& context) : context_(context) {
    const CudaContext::Use use(context);
    context.driver().create_event(&event_, cuda::kEventNoTiming);
  }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent() {
    context_.Quietly([this](const CudaDriver& driver) { driver.destroy_event.Quietly(event_); });
  }
  cuda::Event get() const { return event_; }

 private:
  const CudaContext& context_;
  cuda::Event event_ = nullptr;
};

}  // namespace

CudaStream::CudaStream(const CudaContext& context) : context_(context) {
  const CudaContext::Use use(context);
  context.driver().create_stream(&stream_, cuda::kStreamNonBlocking);
}

CudaStream::~CudaStream() {
  context_.Quietly([this](const CudaDriver& driver) {
    driver.wait_for_stream.Quietly(stream_);
    driver.destroy_stream.Quietly(stream_);
  });
}

// Patches, rows and columns stand in one buffer, so that one copy brings them all.
struct CudaFeeds::Buffers {
  explicit Buffers(const CudaContext& context)
      : host(context, CudaBuffer::Kind::kPinnedHost),
        device(context, CudaBuffer::Kind::kDevice),
        scratch(context, CudaBuffer::Kind::kDevice),
        copied(context),
        encoded(context) {}
  CudaBuffer host;
  CudaBuffer device;
  CudaBuffer scratch;
  CudaEvent copied;
  CudaEvent encoded;  // nothing reads the buffers any more
};

class CudaFeeds::Feed : public PageFeed {
 public:
  Feed(CudaFeeds* feeds, Buffers* buffers, std::size_t patches, std::size_t patch_bytes)
      : feeds_(*feeds), buffers_(*buffers), patches_(patches), patch_bytes_(patch_bytes) {}
  ~Feed() override {
    feeds_.context_.Quietly([this](const CudaDriver& driver) {
      driver.record_event.Quietly(buffers_.encoded.get(), feeds_.compute_.get());
    });
    const std::lock_guard lock(feeds_.mutex_);
    feeds_.idle_.push_back(&buffers_);
    feeds_.given_back_.notify_one();
  }

  void Prepare() {
    const CudaContext::Use use(feeds_.context_);
    feeds_.context_.driver().wait_for_event(buffers_.encoded.get());
    buffers_.host.Reserve(bytes());
    buffers_.device.Reserve(bytes());
  }

  PatchMemory host() override { return At(buffers_.host.data()); }

  PatchMemory Send() override {
    const CudaContext::Use use(feeds_.context_);
    const CudaDriver& driver = feeds_.context_.driver();
    driver.copy_to_device(buffers_.device.address(), buffers_.host.data(), bytes(), feeds_.copies_.get());
    driver.record_event(buffers_.copied.get(), feeds_.copies_.get());
    driver.stream_wait_event(feeds_.compute_.get(), buffers_.copied.get(), 0);
    return At(buffers_.device.data());
  }

  void* Scratch(std::size_t bytes) override { return buffers_.scratch.Reserve(bytes); }

 private:
  std::size_t bytes() const { return patches_ * (patch_bytes_ + 2 * sizeof(std::int64_t)); }
  // The numbers first: a patch is any number of bytes, they are aligned.
  PatchMemory At(std::byte* start) const {
    auto* numbers = reinterpret_cast<std::int64_t*>(start);
    return {reinterpret_cast<std::uint8_t*>(numbers + 2 * patches_), numbers, numbers + patches_};
  }

  CudaFeeds& feeds_;
  Buffers& buffers_;
  const std::size_t patches_;
  const std::size_t patch_bytes_;
};

CudaFeeds::CudaFeeds(const CudaContext& context, const CudaStream& compute)
    : context_(context), compute_(compute), copies_(context) {
  for (std::unique_ptr<Buffers>& set : sets_) {
    set = std::make_unique<Buffers>(context);
    idle_.push_back(set.get());
  }
}

CudaFeeds::~CudaFeeds() = default;

std::unique_ptr<PageFeed> CudaFeeds::Next(std::size_t patches, std::size_t patch_bytes) {
  std::unique_lock lock(mutex_);
  given_back_.wait(lock, [this] { return !idle_.empty(); });
  auto feed = std::make_unique<Feed>(this, idle_.front(), patches, patch_bytes);
  idle_.pop_front();
  lock.unlock();
  feed->Prepare();
  return feed;
}

}  // namespace ziprerank
