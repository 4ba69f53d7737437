// A page's name in the pool: SipHash-2-4 with 128 bits of output (Aumasson and Bernstein), keyed at random
// per engine, so that nobody who sends pages can make two of them share a name.
#ifndef ZIPRERANK_DIGEST_HPP_
#define ZIPRERANK_DIGEST_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace ziprerank {

struct Digest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const Digest&) const = default;
};

struct DigestHash {  // the digest is uniform already
  std::size_t operator()(const Digest& digest) const { return static_cast<std::size_t>(digest.low); }
};

using DigestKey = std::array<std::uint64_t, 2>;

DigestKey RandomDigestKey();

// Fed in pieces; the digest depends on their concatenation only.
class SipHash128 {
 public:
  explicit SipHash128(const DigestKey& key);
  void Update(const void* data, std::size_t bytes);
  Digest Finish();

 private:
  void Absorb(std::uint64_t word);

  std::array<std::uint64_t, 4> state_;
  std::uint64_t tail_ = 0;  // the last bytes, fewer than 8
  std::size_t total_ = 0;
};

}  // namespace ziprerank

#endif  // ZIPRERANK_DIGEST_HPP_
