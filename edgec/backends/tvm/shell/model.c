/* A model: its constants, its steps, its interface. model_steps.h is written for it, the rest is the same for all. */
#include <stdint.h>

#include "edgec_model.h"
#include "pool.h"

/* The caller's arrays and the arena of one run. */
struct run {
    const void *const *inputs;
    void *const *outputs;
    uint8_t *arena;
};

/* The constants of all steps, in the read-only part of the library: pages that no run touches are never read. */
extern const uint8_t edgec_constants[] __attribute__((visibility("hidden")));
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

const size_t edgec_step_count = sizeof edgec_steps / sizeof *edgec_steps;

__attribute__((visibility("default"))) const struct edgec_model *edgec_model_describe(void) { return &description; }

__attribute__((visibility("default"))) int edgec_model_run(
    const void *const *inputs, void *const *outputs, void *arena, struct edgec_pool *pool) {
    if ((uintptr_t)arena % ARENA_ALIGNMENT != 0) return EDGEC_MISALIGNED_ARENA;
    struct run run = {inputs, outputs, arena};
    edgec_pool_run(pool, &run);
    return EDGEC_OK;
}

#ifdef EDGEC_PROFILE
#include <time.h>

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Run once in this thread, and write how many nanoseconds each step took. Only in libraries made to be measured. */
__attribute__((visibility("default"))) size_t edgec_model_profile(
    const void *const *inputs, void *const *outputs, void *arena, uint64_t *nanoseconds) {
    struct run run = {inputs, outputs, arena};
    uint64_t before = now();
    for (size_t i = 0; i < edgec_step_count; i++) {
        edgec_steps[i].call(&run, 0, edgec_steps[i].units);
        uint64_t after = now();
        nanoseconds[i] = after - before;
        before = after;
    }
    return edgec_step_count;
}
#endif
