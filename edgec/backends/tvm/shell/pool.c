/* Threads that run one function together.
 *
 * Between two steps of a model all threads meet: some microseconds of work lie between two such places, which is less
 * than waking a sleeping thread takes. So they spin for a while, then give way to others (sched_yield). Between two runs
 * they sleep.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "edgec_model.h"

#define SPINS 2000 /* some microseconds */

struct worker {
    struct edgec_pool *pool;
    pthread_t thread;
    int number;
};

struct edgec_pool {
    int threads;
    struct worker *workers; /* threads - 1 of them: the caller is number 0 */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned run; /* counts runs; under the lock */
    int stop;
    edgec_task task;
    void *context;
    _Alignas(64) atomic_uint arrived; /* at the current meeting */
    _Alignas(64) atomic_uint meeting; /* counts meetings */
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

void edgec_pool_meet(struct edgec_pool *pool) {
    if (pool == NULL || pool->threads == 1) return;
    unsigned meeting = atomic_load_explicit(&pool->meeting, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)pool->threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->meeting, meeting + 1, memory_order_release);
        return;
    }
    for (unsigned spins = 0; atomic_load_explicit(&pool->meeting, memory_order_acquire) == meeting; spins++) {
        if (spins < SPINS) relax();
        else sched_yield();
    }
}

static void *work(void *argument) {
    struct worker *self = argument;
    struct edgec_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        while (pool->run == seen && !pool->stop) pthread_cond_wait(&pool->wake, &pool->lock);
        seen = pool->run;
        int stop = pool->stop;
        pthread_mutex_unlock(&pool->lock);
        if (stop) return NULL;
        pool->task(pool->context, self->number, pool->threads);
        edgec_pool_meet(pool);
    }
}

void edgec_pool_together(struct edgec_pool *pool, edgec_task task, void *context) {
    if (pool == NULL || pool->threads == 1) {
        task(context, 0, 1);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->run++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    task(context, 0, pool->threads);
    edgec_pool_meet(pool);
}

__attribute__((visibility("default"))) void edgec_pool_destroy(struct edgec_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads - 1; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

__attribute__((visibility("default"))) struct edgec_pool *edgec_pool_create(int threads) {
    if (threads < 1) threads = 1;
    struct edgec_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    if (pool == NULL) return NULL;
    *pool = (struct edgec_pool){.threads = 1};
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    if (pool->workers == NULL) goto failed;
    for (int i = 0; i < threads - 1; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .number = i + 1};
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) goto failed;
        pool->threads++; /* nobody reads it before the first run */
    }
    return pool;
failed:
    edgec_pool_destroy(pool);
    return NULL;
}
