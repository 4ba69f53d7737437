#include "pages/digest.hpp"

#include <bit>
#include <random>

namespace ziprerank {
namespace {

using State = std::array<std::uint64_t, 4>;

inline void Round(State& v) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = std::rotl(v[1], 13) ^ v[0];
  v[3] = std::rotl(v[3], 16) ^ v[2];
  v[0] = std::rotl(v[0], 32) + v[3];
  v[2] += v[1];
  v[3] = std::rotl(v[3], 21) ^ v[0];
  v[1] = std::rotl(v[1], 17) ^ v[2];
  v[2] = std::rotl(v[2], 32);
}

inline std::uint64_t LoadWord(const std::uint8_t* bytes) {  // little endian on any machine; one load on most
  std::uint64_t word = 0;
  for (unsigned i = 0; i < 8; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
  return word;
}

std::uint64_t FinalWord(State& v) {
  for (int i = 0; i < 4; ++i) Round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

}  // namespace

DigestKey RandomDigestKey() {
  std::random_device source;
  auto word = [&source] { return (std::uint64_t{source()} << 32) | source(); };
  return {word(), word()};
}

SipHash128::SipHash128(const DigestKey& key)
    : state_{key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,  // 0xee: 128-bit output
             key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u} {}

inline void SipHash128::Absorb(std::uint64_t word) {
  state_[3] ^= word;
  Round(state_);
  Round(state_);
  state_[0] ^= word;
}

void SipHash128::Update(const void* data, std::size_t bytes) {
  const auto* next = static_cast<const std::uint8_t*>(data);
  const std::uint8_t* end = next + bytes;
  while (next != end && total_ % 8 != 0) {  // fill the word that an earlier piece began
    tail_ |= std::uint64_t{*next++} << (8 * (total_ % 8));
    if (++total_ % 8 == 0) {
      Absorb(tail_);
      tail_ = 0;
    }
  }
  for (; end - next >= 8; next += 8, total_ += 8) Absorb(LoadWord(next));
  for (; next != end; ++next, ++total_) tail_ |= std::uint64_t{*next} << (8 * (total_ % 8));
}

Digest SipHash128::Finish() {
  Absorb(tail_ | (std::uint64_t{total_ & 0xff} << 56));
  Digest digest;
  state_[2] ^= 0xee;
  digest.low = FinalWord(state_);
  state_[1] ^= 0xdd;
  digest.high = FinalWord(state_);
  return digest;
}

}  // namespace ziprerank
