/* Steps that follow each other, each divided among threads. */
#ifndef EDGEC_POOL_H
#define EDGEC_POOL_H

#include <stddef.h>
#include <stdint.h>

struct edgec_pool;

/* `call` does units [begin, end) of the `units` that the step has; any thread may do any of them. divided: whether it is
 * work enough to be shared. */
struct edgec_step {
    void (*call)(const void *context, int32_t begin, int32_t end);
    int32_t units;
    int32_t divided;
};

/* The model's steps. */
extern const struct edgec_step edgec_steps[] __attribute__((visibility("hidden")));
extern const size_t edgec_step_count __attribute__((visibility("hidden")));

/* Do all steps, in order; pool may be NULL. */
__attribute__((visibility("hidden"))) void edgec_pool_run(struct edgec_pool *pool, const void *context);

/* The same, and take the time of each step. */
__attribute__((visibility("hidden"))) void edgec_pool_profile(
    struct edgec_pool *pool, const void *context, uint64_t (*clock)(void), uint64_t *ticks);

/* Nanoseconds; NULL where there is no system. */
extern uint64_t (*const edgec_system_clock)(void) __attribute__((visibility("hidden")));

/* What is asked for the time after each step; clock is NULL where nobody wants to know. */
struct edgec_stopwatch {
    uint64_t (*clock)(void);
    uint64_t before;
    uint64_t *ticks;
};

/* A step is over. Inlined where `clock` is known, so that a run that is not timed has no trace of it. */
static inline void edgec_stop(struct edgec_stopwatch *watch, size_t step) {
    if (watch->clock == NULL) return;
    uint64_t now = watch->clock();
    watch->ticks[step] = now - watch->before;
    watch->before = now;
}

#endif
