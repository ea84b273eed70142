/* Threads that run one function together, and meet in the middle of it. */
#ifndef EDGEC_POOL_H
#define EDGEC_POOL_H

struct edgec_pool;

typedef void (*edgec_task)(void *context, int worker, int workers);

/* task(context, worker, workers) on every thread of the pool at once; returns when all are done. */
__attribute__((visibility("hidden"))) void edgec_pool_together(struct edgec_pool *pool, edgec_task task, void *context);

/* Wait until every thread of the pool has come here. */
__attribute__((visibility("hidden"))) void edgec_pool_meet(struct edgec_pool *pool);

#endif
