/* Threads that do steps together.
 *
 * A step is over when all of its units are done, not when all threads have come: threads claim some units at a time,
 * and one that the system has put to sleep holds up nobody unless it is in the middle of some. The caller of a run works
 * too, and would do everything alone if no other thread came.
 *
 * Every step has two counters: units claimed, and units done. The first one carries the number of the run in its upper
 * half, so that a thread that comes too late for a run claims nothing of the next one by mistake. It may look at the
 * run's context only while it holds a claim: without that unit done, the run can't end.
 *
 * Threads wait for a step by spinning: some microseconds of work lie between two steps, less than waking a thread takes.
 * Between two runs they sleep.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "edgec_model.h"

#define SPINS 1000         /* then others may have the core */
#define CLAIMS_PER_THREAD 4 /* of a step: more would share it more evenly, and tear up what lies together */

struct progress {
    _Alignas(64) atomic_uint_least64_t claimed; /* run << 32 | units */
    atomic_int_least32_t done;
};

struct edgec_pool {
    int workers; /* threads besides the caller's */
    pthread_t *threads;
    struct progress *progress; /* of each step */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int stop;            /* under the lock */
    const void *context; /* of the current run */
    atomic_uint_least32_t run;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

/* Claim up to `most` units of a step: how many there are, the first of them in *begin. 0: none are left. */
static int32_t claim(struct progress *progress, uint32_t run, int32_t units, int32_t most, int32_t *begin) {
    uint_least64_t seen = atomic_load_explicit(&progress->claimed, memory_order_acquire);
    for (;;) {
        int32_t first = (int32_t)(uint32_t)seen;
        if ((uint32_t)(seen >> 32) != run || first >= units) return 0;
        int32_t count = units - first < most ? units - first : most;
        if (atomic_compare_exchange_weak_explicit(
                &progress->claimed, &seen, seen + (uint32_t)count, memory_order_acq_rel, memory_order_acquire)) {
            *begin = first;
            return count;
        }
    }
}

static void do_steps(struct edgec_pool *pool, uint32_t run) {
    for (size_t i = 0; i < edgec_step_count; i++) {
        struct progress *progress = &pool->progress[i];
        int32_t units = edgec_steps[i].units, claims = (pool->workers + 1) * CLAIMS_PER_THREAD, begin, count;
        while ((count = claim(progress, run, units, units / claims + 1, &begin)) != 0) {
            edgec_steps[i].call(pool->context, begin, begin + count);
            atomic_fetch_add_explicit(&progress->done, count, memory_order_acq_rel);
        }
        for (unsigned spins = 0; atomic_load_explicit(&progress->done, memory_order_acquire) < units; spins++) {
            if (atomic_load_explicit(&pool->run, memory_order_acquire) != run) return; /* that run is over */
            if (spins < SPINS) relax();
            else sched_yield();
        }
    }
}

static void *work(void *argument) {
    struct edgec_pool *pool = argument;
    uint32_t seen = 0;
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        while (atomic_load_explicit(&pool->run, memory_order_relaxed) == seen && !pool->stop)
            pthread_cond_wait(&pool->wake, &pool->lock);
        seen = atomic_load_explicit(&pool->run, memory_order_relaxed);
        int stop = pool->stop;
        pthread_mutex_unlock(&pool->lock);
        if (stop) return NULL;
        do_steps(pool, seen);
    }
}

void edgec_pool_run(struct edgec_pool *pool, const void *context) {
    if (pool == NULL || pool->workers == 0) {
        for (size_t i = 0; i < edgec_step_count; i++) edgec_steps[i].call(context, 0, edgec_steps[i].units);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    uint32_t run = atomic_load_explicit(&pool->run, memory_order_relaxed) + 1;
    pool->context = context;
    for (size_t i = 0; i < edgec_step_count; i++) {
        atomic_store_explicit(&pool->progress[i].done, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->progress[i].claimed, (uint_least64_t)run << 32, memory_order_release);
    }
    atomic_store_explicit(&pool->run, run, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    do_steps(pool, run);
}

__attribute__((visibility("default"))) void edgec_pool_destroy(struct edgec_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->workers; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool->progress);
    free(pool);
}

__attribute__((visibility("default"))) struct edgec_pool *edgec_pool_create(int threads) {
    int workers = threads > 1 ? threads - 1 : 0;
    struct edgec_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = calloc((size_t)workers + 1, sizeof *pool->threads);
    pool->progress = aligned_alloc(64, (edgec_step_count + 1) * sizeof *pool->progress);
    if (pool->threads == NULL || pool->progress == NULL) goto failed;
    for (size_t i = 0; i < edgec_step_count; i++) {
        atomic_init(&pool->progress[i].claimed, 0);
        atomic_init(&pool->progress[i].done, 0);
    }
    while (pool->workers < workers) {
        if (pthread_create(&pool->threads[pool->workers], NULL, work, pool) != 0) goto failed;
        pool->workers++; /* before the first run, nobody reads it */
    }
    return pool;
failed:
    edgec_pool_destroy(pool);
    return NULL;
}
