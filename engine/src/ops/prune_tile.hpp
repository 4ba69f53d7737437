// The inner loop of pruning, compiled once per instruction set (prune_tile.cpp). Included by translation
// units with different -m flags: no inline functions and no standard library here, or the linker could pick a
// version of a shared function that this machine cannot run.
#ifndef ZIPRERANK_PRUNE_TILE_HPP_
#define ZIPRERANK_PRUNE_TILE_HPP_

#include <cstddef>
#include <cstdint>

namespace ziprerank {

enum class Element : int { kF32, kF16, kBf16 };

// One tile: up to `tile_rows` visual rows against all text rows.
struct PruneTile {
  const void* pool;  // [R, L, H]; visual token v is pool[rows[v], 0]
  Element element;
  std::int64_t pool_stride;  // elements from one pool row to the next: L * H
  const std::int64_t* rows;  // [count]
  std::int64_t count;
  std::int64_t hidden;  // H
  const float* text;    // packed: [panel][H][panel_cols], unit rows, zero-padded
  std::int64_t text_count;
  float* scratch;  // scratch_floats of it
  float* best;     // [count] out: largest dot product with a text row
  float* square;   // [count] out: sum of squares
};

struct PruneKernel {
  const char* name;
  std::int64_t panel_cols;  // text rows of one packed panel
  std::int64_t tile_rows;
  std::size_t scratch_floats;
  void (*run)(const PruneTile&);
};

// The versions in this build; each is called only where the processor has its instructions.
extern const PruneKernel kPruneBaseline;  // "baseline"; "neon" on aarch64
extern const PruneKernel kPruneAvx2;
extern const PruneKernel kPruneAvx512;

}  // namespace ziprerank

#endif  // ZIPRERANK_PRUNE_TILE_HPP_
