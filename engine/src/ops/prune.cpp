#include "ops/prune.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr float kSmallestNorm = 1e-12f;

std::size_t Size(std::int64_t value) { return static_cast<std::size_t>(value); }

float ReadElement(const void* data, std::int64_t index, Element element) {
  if (element == Element::kF32) return static_cast<const float*>(data)[index];
  const std::uint32_t bits = static_cast<const std::uint16_t*>(data)[index];
  if (element == Element::kBf16) return std::bit_cast<float>(bits << 16);
  const int exponent = static_cast<int>((bits >> 10) & 0x1f);
  const float fraction = static_cast<float>(bits & 0x3ff);
  float value;
  if (exponent == 0x1f) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(fraction, -24);
  } else {
    value = std::ldexp(fraction + 1024.0f, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

// The masked text rows, at unit length, in panels of columns: [panel][H][panel_cols].
struct PackedText {
  std::vector<float> values;
  std::int64_t count = 0;
};

PackedText PackText(const PruneInputs& in, std::int64_t panel_cols) {
  PackedText packed;
  packed.count = std::count(in.query_mask, in.query_mask + in.text_rows, true);
  if (packed.count == 0) {
    throw InvalidArgument(Text("query_mask selects none of the ", in.text_rows,
                               " text tokens: there is nothing to compare pages with"));
  }
  const std::int64_t panels = (packed.count + panel_cols - 1) / panel_cols;
  packed.values.assign(Size(panels * in.hidden * panel_cols), 0.0f);
  std::vector<float> row(Size(in.hidden));
  std::int64_t column = 0;
  for (std::int64_t t = 0; t < in.text_rows; ++t) {
    if (!in.query_mask[t]) continue;
    double square = 0;
    for (std::int64_t k = 0; k < in.hidden; ++k) {
      row[Size(k)] = ReadElement(in.text, t * in.hidden + k, in.element);
      square += static_cast<double>(row[Size(k)]) * row[Size(k)];
    }
    const auto norm = static_cast<float>(std::sqrt(square));
    if (!std::isfinite(norm))
      throw InvalidArgument(Text("text token ", t, " has an embedding that is not finite"));
    const float scale = 1.0f / std::max(norm, kSmallestNorm);
    float* to = packed.values.data() + column / panel_cols * in.hidden * panel_cols + column % panel_cols;
    for (std::int64_t k = 0; k < in.hidden; ++k) to[k * panel_cols] = row[Size(k)] * scale;
    ++column;
  }
  return packed;
}

// The page that owns visual token `token`.
std::int64_t PageOf(const PruneInputs& in, std::int64_t token) {
  return std::upper_bound(in.page_offsets, in.page_offsets + in.pages + 1, token) - in.page_offsets - 1;
}

// The relevance of each token of `tokens`: its largest cosine with a masked text row.
std::vector<float> Relevance(const PruneInputs& in, const std::vector<std::int64_t>& tokens,
                             const PruneKernel& kernel, const ParallelFor& parallel) {
  const PackedText text = PackText(in, kernel.panel_cols);
  const auto count = static_cast<std::int64_t>(tokens.size());
  std::vector<std::int64_t> pool_rows(tokens.size());
  std::transform(tokens.begin(), tokens.end(), pool_rows.begin(),
                 [&in](std::int64_t v) { return in.rows[v]; });
  std::vector<float> best(tokens.size());
  std::vector<float> square(tokens.size());

  // At most 64 tasks, each with one scratch buffer for all its tiles: enough for any thread pool to balance.
  const std::int64_t tiles = (count + kernel.tile_rows - 1) / kernel.tile_rows;
  const std::int64_t tasks = std::min<std::int64_t>(tiles, 64);
  const std::unique_ptr<float[]> scratch(new float[Size(tasks) * kernel.scratch_floats]);
  parallel(tasks, [&](std::int64_t task) {
    for (std::int64_t tile = tiles * task / tasks; tile < tiles * (task + 1) / tasks; ++tile) {
      const std::int64_t first = tile * kernel.tile_rows;
      kernel.run({.pool = in.pool,
                  .element = in.element,
                  .pool_stride = in.levels * in.hidden,
                  .rows = pool_rows.data() + first,
                  .count = std::min(kernel.tile_rows, count - first),
                  .hidden = in.hidden,
                  .text = text.values.data(),
                  .text_count = text.count,
                  .scratch = scratch.get() + Size(task) * kernel.scratch_floats,
                  .best = best.data() + first,
                  .square = square.data() + first});
    }
  });

  for (std::size_t i = 0; i < best.size(); ++i) {
    if (!std::isfinite(square[i])) {
      const std::int64_t page = PageOf(in, tokens[i]);
      throw InvalidArgument(Text("visual token ", tokens[i] - in.page_offsets[page], " of page ", page,
                                 " (pool row ", pool_rows[i], ") has features that are not finite"));
    }
    best[i] /= std::max(std::sqrt(square[i]), kSmallestNorm);
  }
  return best;
}

}  // namespace

std::vector<const PruneKernel*> PruneKernels() {
  std::vector<const PruneKernel*> kernels = {&kPruneBaseline};
#if defined(ZIPRERANK_X86_64_KERNELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(&kPruneAvx2);
  if (__builtin_cpu_supports("avx512f")) kernels.push_back(&kPruneAvx512);
#endif
  return kernels;
}

std::int64_t CheckPages(const PruneInputs& in) {
  if (in.pages < 1 || in.page_offsets[0] != 0 || in.page_offsets[in.pages] != in.visual) {
    throw InvalidArgument(
        Text("page_offsets must run from 0 to ", in.visual, ", the number of rows, over at least one page"));
  }
  std::int64_t kept = 0;
  for (std::int64_t p = 0; p < in.pages; ++p) {
    const std::int64_t tokens = in.page_offsets[p + 1] - in.page_offsets[p];
    if (tokens < 1) {
      throw InvalidArgument(Text("page_offsets is not ascending at page ", p, ": ", in.page_offsets[p],
                                 " then ", in.page_offsets[p + 1]));
    }
    if (in.keep[p] < 1 || in.keep[p] > tokens) {
      throw InvalidArgument(
          Text("keep is ", in.keep[p], " for page ", p, ", which has ", tokens, " visual tokens"));
    }
    kept += in.keep[p];
  }
  return kept;
}

std::int64_t CheckPrune(const PruneInputs& in) {
  const std::int64_t kept = CheckPages(in);
  for (std::int64_t v = 0; v < in.visual; ++v) {
    if (in.rows[v] < 0 || in.rows[v] >= in.pool_rows) {
      throw InvalidArgument(Text("visual token ", v - in.page_offsets[PageOf(in, v)], " of page ",
                                 PageOf(in, v), " points to pool row ", in.rows[v], ", the pool has ",
                                 in.pool_rows));
    }
  }
  return kept;
}

void Prune(const PruneInputs& in, const PruneKernel& kernel, const ParallelFor& parallel,
           std::int64_t* kept) {
  std::vector<std::int64_t> tokens;  // of the pages that lose some: a page kept whole needs no scores
  for (std::int64_t p = 0; p < in.pages; ++p) {
    if (in.keep[p] == in.page_offsets[p + 1] - in.page_offsets[p]) continue;
    for (std::int64_t v = in.page_offsets[p]; v < in.page_offsets[p + 1]; ++v) tokens.push_back(v);
  }
  std::vector<float> relevance;
  if (!tokens.empty()) relevance = Relevance(in, tokens, kernel, parallel);

  const float* scores = relevance.data();
  std::vector<std::int64_t> order;
  for (std::int64_t p = 0; p < in.pages; ++p) {
    const std::int64_t count = in.page_offsets[p + 1] - in.page_offsets[p];
    order.resize(Size(count));
    std::iota(order.begin(), order.end(), 0);
    if (in.keep[p] < count) {
      const auto cut = order.begin() + in.keep[p];
      std::nth_element(order.begin(), cut, order.end(), [scores](std::int64_t a, std::int64_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
      });
      std::sort(order.begin(), cut);
      scores += count;
    }
    for (std::int64_t k = 0; k < in.keep[p]; ++k) *kept++ = in.page_offsets[p] + order[Size(k)];
  }
}

}  // namespace ziprerank
