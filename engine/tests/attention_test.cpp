#include "ops/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.hpp"

namespace ziprerank {
namespace {

using Floats = std::vector<float>;

void Serial(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  for (std::int64_t i = count; i-- > 0;) task(i);  // any order is allowed: backwards
}

struct Problem {
  std::int64_t batch = 1;
  std::int64_t length = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 1;
  bool causal = false;
  Floats queries = {};
  Floats keys = {};
  Floats values = {};

  AttentionInputs Inputs() const {
    return {.queries = queries.data(),
            .keys = keys.data(),
            .values = values.data(),
            .batch = batch,
            .length = length,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .causal = causal};
  }
};

// Queries of size `scale`, so that scores reach about 4 * scale.
Problem Filled(Problem p, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](std::int64_t heads, float size) {
    Floats values(static_cast<std::size_t>(p.batch * p.length * heads * p.head_dim));
    for (float& value : values) value = size * normal(random);
    return values;
  };
  p.queries = draw(p.heads, scale);
  p.keys = draw(p.kv_heads, 1);
  p.values = draw(p.kv_heads, 1);
  return p;
}

Floats Run(const Problem& p, const AttentionKernel& kernel) {
  Floats out(p.queries.size(), std::numeric_limits<float>::quiet_NaN());
  Attend(p.Inputs(), kernel, Serial, out.data());
  return out;
}

// The definition, in double.
std::vector<double> Reference(const Problem& p) {
  std::vector<double> out;
  const auto at = [&p](const Floats& from, std::int64_t heads, std::int64_t b, std::int64_t i,
                       std::int64_t head) {
    return from.data() + ((b * p.length + i) * heads + head) * p.head_dim;
  };
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t i = 0; i < p.length; ++i) {
      for (std::int64_t head = 0; head < p.heads; ++head) {
        const std::int64_t kv_head = head * p.kv_heads / p.heads;
        const float* query = at(p.queries, p.heads, b, i, head);
        const std::int64_t seen = p.causal ? i + 1 : p.length;
        std::vector<double> weights;
        for (std::int64_t j = 0; j < seen; ++j) {
          const float* key = at(p.keys, p.kv_heads, b, j, kv_head);
          double score = 0;
          for (std::int64_t k = 0; k < p.head_dim; ++k) score += double{query[k]} * key[k];
          weights.push_back(score / std::sqrt(static_cast<double>(p.head_dim)));
        }
        const double largest = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - largest);
        for (std::int64_t k = 0; k < p.head_dim; ++k) {
          double mean = 0;
          for (std::int64_t j = 0; j < seen; ++j) {
            mean += weights[static_cast<std::size_t>(j)] * at(p.values, p.kv_heads, b, j, kv_head)[k];
          }
          out.push_back(mean / sum);
        }
      }
    }
  }
  return out;
}

double LargestError(const Floats& actual, const std::vector<double>& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::fabs(actual[i] - expected[i]);
    if (!(error <= largest)) largest = error;  // NaN too
  }
  return largest;
}

}  // namespace

TEST(attention_every_kernel_and_odd_shapes) {
#if defined(__aarch64__)
  CHECK(std::string(AttentionKernels().front()->name) == "neon");
#else
  CHECK(std::string(AttentionKernels().front()->name) == "baseline");
#endif
  unsigned seed = 1;
  for (const std::int64_t head_dim : {1, 7, 16, 64, 257}) {
    for (const std::int64_t length : {1, 31, 96, 97, 128, 129, 400}) {
      for (const bool causal : {false, true}) {
        const Problem p = Filled({.length = length, .head_dim = head_dim, .causal = causal}, seed++);
        for (const AttentionKernel* kernel : AttentionKernels()) {
          CHECK(LargestError(Run(p, *kernel), Reference(p)) < 3e-6);
        }
      }
    }
  }
}

TEST(attention_heads_and_batches) {
  for (const auto& [heads, kv_heads] : {std::pair{6, 6}, {6, 3}, {6, 1}}) {
    for (const bool causal : {false, true}) {
      const Problem p = Filled(
          {.batch = 3, .length = 150, .heads = heads, .kv_heads = kv_heads, .head_dim = 20, .causal = causal},
          7);
      for (const AttentionKernel* kernel : AttentionKernels()) {
        CHECK(LargestError(Run(p, *kernel), Reference(p)) < 3e-6);
      }
    }
  }
}

// Scores in the hundreds, the largest ones late: weights of earlier blocks shrink to nothing, and nothing
// overflows. A score of 400 is rounded by 2e-5, and so is its weight.
TEST(attention_large_scores) {
  Problem p = Filled({.length = 500, .head_dim = 64, .causal = true}, 3, 100);
  for (std::size_t i = 0; i < p.keys.size(); ++i) p.keys[i] *= static_cast<float>(i) / 16000;
  for (const AttentionKernel* kernel : AttentionKernels()) {
    CHECK(LargestError(Run(p, *kernel), Reference(p)) < 5e-4);
  }
}

TEST(attention_causal_rows_do_not_depend_on_later_ones) {
  const Problem p = Filled({.length = 300, .head_dim = 32, .causal = true}, 5);
  constexpr std::size_t kFrom = 200 * 32;
  Problem changed = p;
  for (Floats* part : {&changed.queries, &changed.keys, &changed.values}) {
    for (std::size_t i = kFrom; i < part->size(); ++i) (*part)[i] *= -3;
  }
  for (const AttentionKernel* kernel : AttentionKernels()) {
    const Floats one = Run(p, *kernel);
    const Floats other = Run(changed, *kernel);
    CHECK(std::equal(one.begin(), one.begin() + kFrom, other.begin()));
    CHECK(one.back() != other.back());
  }
}

// What is not finite must show, whatever bits a NaN has: the engine looks for it in the scores. (An infinite
// key may also score -infinity, and weigh nothing.)
TEST(attention_keeps_what_is_not_finite) {
  const std::uint32_t odd_bits = 0x7fc00123;
  float odd_nan;
  std::memcpy(&odd_nan, &odd_bits, sizeof odd_nan);
  for (const float bad : {odd_nan, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (Floats Problem::* part : {&Problem::queries, &Problem::keys, &Problem::values}) {
      Problem p = Filled({.length = 200, .head_dim = 16}, 9);
      (p.*part)[150 * 16 + 3] = bad;
      for (const AttentionKernel* kernel : AttentionKernels()) {
        const Floats out = Run(p, *kernel);
        CHECK(std::any_of(out.begin(), out.end(), [](float value) { return !std::isfinite(value); }));
        CHECK(!std::isnan(bad) || std::isnan(out[150 * 16 + 3]));
      }
    }
  }
}

}  // namespace ziprerank
