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

__attribute__((visibility("default"))) int edgec_model_profile(
    const void *const *inputs, void *const *outputs, void *arena, struct edgec_pool *pool, uint64_t (*clock)(void),
    uint64_t *ticks) {
    if ((uintptr_t)arena % ARENA_ALIGNMENT != 0) return EDGEC_MISALIGNED_ARENA;
    if (clock == NULL) clock = edgec_system_clock;
    if (clock == NULL) return EDGEC_NO_CLOCK;
    struct run run = {inputs, outputs, arena};
    edgec_pool_profile(pool, &run, clock, ticks);
    return EDGEC_OK;
}

__attribute__((visibility("default"))) const char *edgec_model_step(size_t step) {
    return step < edgec_step_count ? step_names + step_name_at[step] : NULL;
}
