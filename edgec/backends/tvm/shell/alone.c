/* Steps one after the other, in the caller's thread: what pool.c does, for programs without threads or a system. */
#include "pool.h"

#include "edgec_model.h"

struct edgec_pool *edgec_pool_create(int threads) {
    (void)threads;
    return NULL; /* which edgec_model_run takes for this thread alone */
}

void edgec_pool_destroy(struct edgec_pool *pool) { (void)pool; }

uint64_t (*const edgec_system_clock)(void) = NULL;

void edgec_pool_run(struct edgec_pool *pool, const void *context) {
    (void)pool;
    for (size_t i = 0; i < edgec_step_count; i++) edgec_steps[i].call(context, 0, edgec_steps[i].units);
}

void edgec_pool_profile(struct edgec_pool *pool, const void *context, uint64_t (*clock)(void), uint64_t *ticks) {
    (void)pool;
    struct edgec_stopwatch watch = {clock, clock(), ticks};
    for (size_t i = 0; i < edgec_step_count; i++) {
        edgec_steps[i].call(context, 0, edgec_steps[i].units);
        edgec_stop(&watch, i);
    }
}
