// The inner loop of attention, compiled once per instruction set (attention_tile.cpp). As in prune_tile.hpp,
// no inline functions and no standard library here.
#ifndef ZIPRERANK_ATTENTION_TILE_HPP_
#define ZIPRERANK_ATTENTION_TILE_HPP_

#include <cstddef>
#include <cstdint>

namespace ziprerank {

// One tile: up to `tile_rows` queries of one head against all keys that they see.
struct AttentionTile {
  const float* queries;  // [rows, head_dim], `query_stride` floats from row to row
  std::int64_t query_stride;
  std::int64_t rows;
  std::int64_t first;   // position of the first query; the others follow
  const float* keys;    // packed: [panel][head_dim][panel_cols], a key a column, zero-padded
  const float* values;  // packed: [block][panel][key_block][panel_cols], a value a row, zero-padded
  std::int64_t length;  // S, keys
  std::int64_t head_dim;
  bool causal;     // query i sees keys 0..i; else all
  float* scratch;  // scratch_floats(head_dim) of it
  float* out;      // [rows, head_dim], `query_stride` floats from row to row
};

struct AttentionKernel {
  const char* name;
  std::int64_t panel_cols;
  std::int64_t key_block;  // keys that a tile goes through at a time, a multiple of panel_cols
  std::int64_t tile_rows;
  std::size_t (*scratch_floats)(std::int64_t head_dim);
  void (*run)(const AttentionTile&);
};

// The versions in this build; each is called only where the processor has its instructions.
extern const AttentionKernel kAttentionBaseline;  // "baseline"; "neon" on aarch64
extern const AttentionKernel kAttentionAvx2;
extern const AttentionKernel kAttentionAvx512;

}  // namespace ziprerank

#endif  // ZIPRERANK_ATTENTION_TILE_HPP_
