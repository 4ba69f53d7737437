#include "ops/prune.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "check.hpp"

namespace ziprerank {
namespace {

using Ints = std::vector<std::int64_t>;

void Serial(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  for (std::int64_t i = count; i-- > 0;) task(i);  // any order is allowed: backwards
}

// A case with float features; rows of the pool are used in order.
struct Problem {
  std::int64_t hidden = 4;
  std::int64_t levels = 2;
  std::vector<float> pool;  // [rows, levels, hidden]
  Ints rows;
  Ints offsets;
  Ints keep;
  std::vector<float> text;
  std::vector<std::uint8_t> mask;

  PruneInputs Inputs() const {
    return {.element = Element::kF32,
            .pool = pool.data(),
            .pool_rows = std::ssize(pool) / (levels * hidden),
            .levels = levels,
            .hidden = hidden,
            .rows = rows.data(),
            .visual = std::ssize(rows),
            .page_offsets = offsets.data(),
            .keep = keep.data(),
            .pages = std::ssize(keep),
            .text = text.data(),
            .query_mask = reinterpret_cast<const bool*>(mask.data()),
            .text_rows = std::ssize(mask)};
  }
};

Problem RandomProblem(unsigned seed, std::int64_t hidden, const Ints& pages, std::int64_t text) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Problem problem;
  problem.hidden = hidden;
  problem.offsets = {0};
  for (const std::int64_t page : pages) {
    problem.offsets.push_back(problem.offsets.back() + page);
    problem.keep.push_back(1 + static_cast<std::int64_t>(random()) % page);
  }
  const auto visual = static_cast<std::size_t>(problem.offsets.back());
  problem.pool.resize((visual + 5) * 2 * static_cast<std::size_t>(hidden));
  for (float& value : problem.pool) value = normal(random);
  problem.rows.resize(visual);
  std::iota(problem.rows.begin(), problem.rows.end(), 5);
  std::shuffle(problem.rows.begin(), problem.rows.end(), random);
  problem.text.resize(static_cast<std::size_t>(text * hidden));
  for (float& value : problem.text) value = normal(random);
  problem.mask.resize(static_cast<std::size_t>(text));
  for (std::uint8_t& value : problem.mask) value = random() % 4 != 0;
  problem.mask[0] = 1;
  return problem;
}

// The largest cosine of each visual token, in double.
std::vector<double> Scores(const Problem& p) {
  std::vector<double> scores;
  for (const std::int64_t row : p.rows) {
    const float* v = p.pool.data() + row * p.levels * p.hidden;
    double best = -2;
    for (std::size_t t = 0; t < p.mask.size(); ++t) {
      if (p.mask[t] == 0) continue;
      const float* q = p.text.data() + static_cast<std::int64_t>(t) * p.hidden;
      double dot = 0;
      double vv = 0;
      double qq = 0;
      for (std::int64_t k = 0; k < p.hidden; ++k) {
        dot += double{v[k]} * q[k];
        vv += double{v[k]} * v[k];
        qq += double{q[k]} * q[k];
      }
      best = std::max(best, dot / std::max(std::sqrt(vv), 1e-12) / std::max(std::sqrt(qq), 1e-12));
    }
    scores.push_back(best);
  }
  return scores;
}

Ints Run(const PruneInputs& in, const PruneKernel& kernel) {
  Ints kept(static_cast<std::size_t>(CheckPrune(in)));
  Prune(in, kernel, Serial, kept.data());
  return kept;
}

// The kept set by the scores it selects: nothing dropped is better than anything kept, beyond rounding.
void CheckSelection(const Problem& p, const Ints& kept, double tolerance) {
  const std::vector<double> scores = Scores(p);
  auto next = kept.begin();
  for (std::size_t page = 0; page < p.keep.size(); ++page) {
    const Ints own(next, next + p.keep[page]);
    next += p.keep[page];
    CHECK(std::is_sorted(own.begin(), own.end()) && std::adjacent_find(own.begin(), own.end()) == own.end());
    CHECK(own.front() >= p.offsets[page] && own.back() < p.offsets[page + 1]);
    double worst_kept = 2;
    double best_dropped = -2;
    for (std::int64_t v = p.offsets[page]; v < p.offsets[page + 1]; ++v) {
      const double score = scores[static_cast<std::size_t>(v)];
      if (std::binary_search(own.begin(), own.end(), v)) {
        worst_kept = std::min(worst_kept, score);
      } else {
        best_dropped = std::max(best_dropped, score);
      }
    }
    CHECK(best_dropped <= worst_kept + tolerance);
  }
}

std::uint16_t ToBf16(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}

}  // namespace

TEST(prune_every_kernel_and_odd_shapes) {
#if defined(__aarch64__)
  CHECK(std::string(PruneKernels().front()->name) == "neon");
#else
  CHECK(std::string(PruneKernels().front()->name) == "baseline");
#endif
  for (const PruneKernel* kernel : PruneKernels()) {
    unsigned seed = 1;
    for (const std::int64_t hidden : {1, 7, 64, 256, 257, 1000}) {
      for (const std::int64_t text : {1, 15, 16, 33, 300, 600}) {
        const Problem p = RandomProblem(seed++, hidden, {1, 95, 96, 13}, text);
        CheckSelection(p, Run(p.Inputs(), *kernel), 1e-5);
      }
    }
  }
}

TEST(prune_ties_go_to_the_lower_index) {
  for (const PruneKernel* kernel : PruneKernels()) {
    Problem p = RandomProblem(3, 64, {200, 7}, 20);
    for (std::int64_t v = 0; v < 207; ++v)
      p.rows[static_cast<std::size_t>(v)] = v % 2;  // two features in turn
    p.keep = {60, 3};
    const bool even_wins = Scores(p)[0] > Scores(p)[1];
    Ints want;
    for (std::int64_t i = 0; i < 60; ++i) want.push_back(2 * i + (even_wins ? 0 : 1));
    for (std::int64_t v = 200; v < 207 && std::ssize(want) < 63; ++v) {
      if ((v % 2 == 0) == even_wins) want.push_back(v);
    }
    CHECK(Run(p.Inputs(), *kernel) == want);
  }
}

TEST(prune_negative_and_zero_similarities) {
  for (const PruneKernel* kernel : PruneKernels()) {
    Problem p;  // one text row: similarities -1, -0.6, 0 (a zero row), -0.8
    p.pool = {-1, 0, 0, 0, 9, 9, 9, 9, -3, 4, 0, 0, 9, 9, 9, 9,
              0,  0, 0, 0, 9, 9, 9, 9, -4, 3, 0, 0, 9, 9, 9, 9};
    p.rows = {0, 1, 2, 3};
    p.offsets = {0, 4};
    p.text = {5, 0, 0, 0};
    p.mask = {1};
    p.keep = {1};
    CHECK(Run(p.Inputs(), *kernel) == Ints{2});
    p.keep = {2};
    CHECK(Run(p.Inputs(), *kernel) == Ints{1, 2});  // padding text of 0 must not lift the negative ones
    p.keep = {3};
    CHECK(Run(p.Inputs(), *kernel) == Ints{1, 2, 3});
    p.text = {0, 0, 0, 0};  // nothing to tell them apart by: the first ones
    p.keep = {2};
    CHECK(Run(p.Inputs(), *kernel) == Ints{0, 1});
  }
}

// Values that all three types hold exactly give the same set.
TEST(prune_half_types_agree_with_float) {
  for (const PruneKernel* kernel : PruneKernels()) {
    Problem p = RandomProblem(11, 96, {77, 130}, 41);
    std::mt19937 random(5);
    auto draw = [&random] { return static_cast<float>(static_cast<int>(random() % 33) - 16) * 0.0625f; };
    for (float& value : p.pool) value = draw();
    for (float& value : p.text) value = draw();
    const Ints want = Run(p.Inputs(), *kernel);
    const auto to_half = [](float value) {  // exact here: at most 5 significant bits
      if (value == 0) return std::uint16_t{0};
      int exponent;
      const float fraction = std::frexp(std::fabs(value), &exponent);
      const auto bits =
          static_cast<std::uint16_t>(((exponent + 14) << 10) | (static_cast<int>(fraction * 2048) & 0x3ff));
      return static_cast<std::uint16_t>(bits | (value < 0 ? 0x8000 : 0));
    };
    for (const bool brain : {false, true}) {
      std::vector<std::uint16_t> pool;
      std::vector<std::uint16_t> text;
      for (const float value : p.pool) pool.push_back(brain ? ToBf16(value) : to_half(value));
      for (const float value : p.text) text.push_back(brain ? ToBf16(value) : to_half(value));
      PruneInputs in = p.Inputs();
      in.element = brain ? Element::kBf16 : Element::kF16;
      in.pool = pool.data();
      in.text = text.data();
      CHECK(Run(in, *kernel) == want);
    }
  }
}

// All 65,536 halves through the tile's own widening: a row of one value, its square is read back.
TEST(prune_every_half_value) {
  for (const PruneKernel* kernel : PruneKernels()) {
    int wrong = 0;
    std::vector<float> scratch(kernel->scratch_floats);
    const std::vector<float> text(static_cast<std::size_t>(kernel->panel_cols), 1.0f);
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const auto half = static_cast<std::uint16_t>(bits);
      const std::int64_t row = 0;
      float best = 0;
      float square = 0;
      kernel->run({.pool = &half,
                   .element = Element::kF16,
                   .pool_stride = 1,
                   .rows = &row,
                   .count = 1,
                   .hidden = 1,
                   .text = text.data(),
                   .text_count = 1,
                   .scratch = scratch.data(),
                   .best = &best,
                   .square = &square});
      const int exponent = static_cast<int>(bits >> 10 & 31);
      const double fraction = bits & 1023;
      const double magnitude =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
      if (exponent == 31) {
        wrong += std::isfinite(square);
      } else {
        wrong += best != static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
      }
    }
    CHECK(wrong == 0);
    break;  // 65,536 tiles: the conversion is the same source in every kernel
  }
}

TEST(prune_pages_kept_whole_need_no_scores) {
  Problem p = RandomProblem(2, 8, {3, 2}, 4);
  p.keep = {3, 2};
  p.pool.assign(p.pool.size(), std::nanf(""));
  CHECK(Run(p.Inputs(), *PruneKernels().back()) == Ints{0, 1, 2, 3, 4});
}

TEST(prune_bad_data) {
  const PruneKernel& kernel = *PruneKernels().back();
  const Problem good = RandomProblem(2, 8, {30, 20}, 4);
  const auto broken = [&](auto&& change) {
    Problem p = good;
    p.keep = {10, 10};
    change(p);
    return Run(p.Inputs(), kernel);
  };
  CHECK_THROWS(kInvalidArgument, "visual token 3 of page 1 (pool row 2) has features that are not finite",
               broken([](Problem& p) {
                 p.rows[33] = 2;
                 p.pool[2 * 16 + 7] = std::nanf("");
               }));
  CHECK_THROWS(kInvalidArgument, "not finite", broken([](Problem& p) {
                 p.pool[static_cast<std::size_t>(p.rows[0]) * 16] = std::numeric_limits<float>::infinity();
               }));
  CHECK_THROWS(kInvalidArgument, "text token 0 has an embedding that is not finite",
               broken([](Problem& p) { p.text[1] = std::nanf(""); }));
  CHECK_THROWS(kInvalidArgument, "visual token 1 of page 0 points to pool row 55, the pool has 55",
               broken([](Problem& p) { p.rows[1] = 55; }));
  CHECK_THROWS(kInvalidArgument, "points to pool row -1", broken([](Problem& p) { p.rows[1] = -1; }));
  CHECK_THROWS(kInvalidArgument, "keep is 21 for page 1, which has 20 visual tokens",
               broken([](Problem& p) { p.keep[1] = 21; }));
  CHECK_THROWS(kInvalidArgument, "keep is 0 for page 0", broken([](Problem& p) { p.keep[0] = 0; }));
  CHECK_THROWS(kInvalidArgument, "page_offsets is not ascending at page 0",
               broken([](Problem& p) { p.offsets[1] = 0; }));
  CHECK_THROWS(kInvalidArgument, "page_offsets must run from 0 to 50",
               broken([](Problem& p) { p.offsets[2] = 49; }));
  CHECK_THROWS(kInvalidArgument, "query_mask selects none of the 4 text tokens",
               broken([](Problem& p) { p.mask.assign(4, 0); }));
}

}  // namespace ziprerank
