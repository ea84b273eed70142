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

#endif
