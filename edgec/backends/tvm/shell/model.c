/* Runs a model: its steps one after the other, each divided among the threads. model_steps.h is written for the model. */
#include <stdint.h>

#include "edgec_model.h"
#include "pool.h"

/* The caller's arrays and the arena of one run. */
struct run {
    const void *const *inputs;
    void *const *outputs;
    uint8_t *arena;
    struct edgec_pool *pool;
};

/* One step: `call` does units [begin, end) of its `units`. */
struct step {
    void (*call)(const struct run *run, int32_t begin, int32_t end);
    int32_t units;
};

/* The constants of all steps, which linking puts into the read-only part of the library. */
#define CONSTANTS_SYMBOL edgec_constants
extern const uint8_t CONSTANTS_SYMBOL[] __attribute__((visibility("hidden")));
__asm__(
    ".section .rodata.edgec,\"a\"\n"
    ".balign 64\n"
    ".globl edgec_constants\n"
    ".hidden edgec_constants\n"
    "edgec_constants:\n"
    ".incbin \"constants.bin\"\n"
    ".balign 64\n"
    ".previous\n");

#include "model_steps.h"

static void work(void *context, int worker, int workers) {
    const struct run *run = context;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int64_t units = steps[i].units;
        int32_t begin = (int32_t)(units * worker / workers), end = (int32_t)(units * (worker + 1) / workers);
        if (i != 0) edgec_pool_meet(run->pool);
        if (begin < end) steps[i].call(run, begin, end);
    }
}

__attribute__((visibility("default"))) const struct edgec_model *edgec_model_describe(void) { return &description; }

__attribute__((visibility("default"))) int edgec_model_run(
    const void *const *inputs, void *const *outputs, void *arena, struct edgec_pool *pool) {
    if ((uintptr_t)arena % ARENA_ALIGNMENT != 0) return EDGEC_MISALIGNED_ARENA;
    struct run run = {inputs, outputs, arena, pool};
    edgec_pool_together(pool, work, &run);
    return EDGEC_OK;
}
