#include "pages/digest.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "check.hpp"

namespace ziprerank {
namespace {

constexpr DigestKey kReferenceKey = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};  // bytes 00 .. 0f

std::vector<std::uint8_t> Counting(std::size_t bytes) {
  std::vector<std::uint8_t> out(bytes);
  std::iota(out.begin(), out.end(), std::uint8_t{0});
  return out;
}

Digest HashOf(const std::vector<std::uint8_t>& message, const DigestKey& key = kReferenceKey) {
  SipHash128 hash(key);
  hash.Update(message.data(), message.size());
  return hash.Finish();
}

// Digest bytes as they are published: both words, little endian.
std::string Hex(const Digest& digest) {
  static const char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::uint64_t word : {digest.low, digest.high}) {
    for (int i = 0; i < 8; ++i) {
      const auto byte = static_cast<unsigned>((word >> (8 * i)) & 0xff);
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace

// The reference vectors of SipHash-2-4-128: key 00..0f, messages 00, 01, ...
TEST(digest_reference_vectors) {
  CHECK(Hex(HashOf(Counting(0))) == "a3817f04ba25a8e66df67214c7550293");
  CHECK(Hex(HashOf(Counting(1))) == "da87c1d86b99af44347659119b22fc45");
  CHECK(Hex(HashOf(Counting(2))) == "8177228da4a45dc7fca38bdef60affe4");
}

TEST(digest_pieces_do_not_matter) {
  const std::vector<std::uint8_t> message = Counting(200);
  const Digest whole = HashOf(message);
  for (const std::size_t piece : {1u, 3u, 7u, 8u, 9u, 64u, 199u}) {
    SipHash128 hash(kReferenceKey);
    for (std::size_t i = 0; i < message.size(); i += piece) {
      hash.Update(message.data() + i, std::min(piece, message.size() - i));
    }
    CHECK(hash.Finish() == whole);
  }
}

TEST(digest_every_byte_and_the_length_count) {
  std::vector<std::uint8_t> message = Counting(40);
  const Digest whole = HashOf(message);
  for (std::uint8_t& byte : message) {
    byte ^= 1;
    CHECK(!(HashOf(message) == whole));
    byte ^= 1;
  }
  message.push_back(0);
  CHECK(!(HashOf(message) == whole));
}

TEST(digest_keys_are_random) {
  CHECK(RandomDigestKey() != RandomDigestKey());
  CHECK(!(HashOf(Counting(9), RandomDigestKey()) == HashOf(Counting(9), RandomDigestKey())));
}

}  // namespace ziprerank
