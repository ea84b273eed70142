/* A model as plain C: no allocation, no global state that changes, no library but the C library.
 *
 * Arrays are contiguous and in the model's order of dimensions. What a model takes and gives, and how large everything
 * is, is known before anything runs.
 */
#ifndef EDGEC_MODEL_H
#define EDGEC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EDGEC_OK = 0, EDGEC_MISALIGNED_ARENA = 1, EDGEC_NO_CLOCK = 2 };

/* One input or output. dtype: numpy's name of it. */
struct edgec_tensor {
    const char *name;
    const char *dtype;
    size_t dimensions;
    const size_t *shape;
    size_t bytes;
};

struct edgec_model {
    size_t inputs;
    const struct edgec_tensor *input;
    size_t outputs;
    const struct edgec_tensor *output;
    size_t arena_bytes;
    size_t arena_alignment;
    size_t constant_bytes;
    size_t steps;
};

/* What there is to know of the model. */
const struct edgec_model *edgec_model_describe(void);

/* Threads that wait for work. One pool serves one run at a time. */
struct edgec_pool;

/* A pool of `threads` threads, of which the caller of edgec_model_run is one. NULL when the system gives no more. */
struct edgec_pool *edgec_pool_create(int threads);
void edgec_pool_destroy(struct edgec_pool *pool);

/* Run once.
 *
 * inputs, outputs: one array each, in the order of the description. They may lie anywhere that suits their elements
 * (a float32 at a multiple of 4 bytes), but not over each other.
 * arena: arena_bytes of memory, aligned to arena_alignment. Nothing in it has to be kept between runs.
 * pool: NULL to compute in this thread alone. The results are the same for every number of threads.
 *
 * Re-entrant: any number of runs at once, each with an arena (and a pool) of its own.
 */
int edgec_model_run(const void *const *inputs, void *const *outputs, void *arena, struct edgec_pool *pool);

/* Run once, and take the time of each step: what edgec_model_run does, which itself never asks for the time.
 *
 * clock: counts up, in a unit of its own; NULL for the system's, in nanoseconds. model.o has none: there it is the
 * caller's, for example a cycle counter of the processor, and without one nothing runs (EDGEC_NO_CLOCK).
 * ticks: one number for each step; all together are what lies between the first and the last look at the clock.
 */
int edgec_model_profile(const void *const *inputs, void *const *outputs, void *arena, struct edgec_pool *pool,
                        uint64_t (*clock)(void), uint64_t *ticks);

/* What a step computes: the name of its kernel, then the names of the ONNX nodes that it computes (or computes a part
 * of: a node may take several steps), or of the tensor that it makes where that belongs to no node. One name a line.
 * NULL behind the last step. */
const char *edgec_model_step(size_t step);

#ifdef __cplusplus
}
#endif

#endif
