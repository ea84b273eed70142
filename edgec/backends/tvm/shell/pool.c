/* Threads that do steps together.
 *
 * Steps of little work are the caller's alone: handing them to another core and back would take longer than doing them.
 * Of the others, threads claim some units at a time, and a step is over when all of its units are done, not when all
 * threads have come: one that the system has put to sleep holds up nobody unless it is in the middle of some. The caller
 * of a run would do everything alone if no other thread came.
 *
 * Every step has two counters: units claimed, and units done. The first one carries the number of the run in its upper
 * half, so that a thread that comes too late for a run claims nothing of the next one by mistake; the second one counts
 * on from run to run. So nothing has to be reset between runs. A thread may look at the run's context only while it holds
 * a claim: without that unit done, the run can't end.
 *
 * Threads wait for a step by spinning: some microseconds of work lie between two steps, less than waking a thread takes.
 * After a run they spin a little for the next one, then they sleep.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "edgec_model.h"

#define SPINS 1000          /* then others may have the core */
#define SPINS_AT_REST 2000  /* some ten microseconds; then threads sleep */
#define LEAST_CLAIMS 16     /* of a step, where threads take the fewest units at a time */

struct progress {
    _Alignas(64) atomic_uint_least64_t claimed; /* run << 32 | units */
    atomic_uint_least32_t done;                 /* units of all runs */
};

struct edgec_pool {
    int workers; /* threads besides the caller's */
    pthread_t *threads;
    struct progress *progress; /* of each step */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_int sleeping;
    atomic_int stop;
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

/* Claim units of a step: how many there are, the first of them in *begin. 0: none are left.
 *
 * Half of a thread's even share of what is left, so that what lies together stays together at first, and threads come to
 * the end at about the same time. */
static int32_t claim(struct progress *progress, uint32_t run, int32_t units, int threads, int32_t *begin) {
    int32_t least = units / LEAST_CLAIMS + 1;
    uint_least64_t seen = atomic_load_explicit(&progress->claimed, memory_order_acquire);
    for (;;) {
        int32_t first = (int32_t)(uint32_t)seen, newer = (int32_t)((uint32_t)(seen >> 32) - run);
        if (newer > 0) return 0;
        if (newer < 0) first = 0; /* nobody has claimed any in this run */
        if (first >= units) return 0;
        int32_t left = units - first, count = left / (2 * threads);
        if (count < least) count = left < least ? left : least;
        uint_least64_t claimed = (uint_least64_t)run << 32 | (uint32_t)(first + count);
        if (atomic_compare_exchange_weak_explicit(
                &progress->claimed, &seen, claimed, memory_order_acq_rel, memory_order_acquire)) {
            *begin = first;
            return count;
        }
    }
}

static void share(struct edgec_pool *pool, size_t i, uint32_t run) {
    struct progress *progress = &pool->progress[i];
    int32_t begin, count;
    while ((count = claim(progress, run, edgec_steps[i].units, pool->workers + 1, &begin)) != 0) {
        edgec_steps[i].call(pool->context, begin, begin + count);
        atomic_fetch_add_explicit(&progress->done, (uint32_t)count, memory_order_acq_rel);
    }
}

/* Wait until a step is over; 0: another run has begun. */
static int wait_for(struct edgec_pool *pool, size_t i, uint32_t run) {
    uint32_t all = run * (uint32_t)edgec_steps[i].units;
    for (unsigned spins = 0;; spins++) {
        uint32_t done = atomic_load_explicit(&pool->progress[i].done, memory_order_acquire);
        if ((int32_t)(done - all) >= 0) return 1;
        if (atomic_load_explicit(&pool->run, memory_order_acquire) != run) return 0;
        if (spins < SPINS) relax();
        else sched_yield();
    }
}

static void *work(void *argument) {
    struct edgec_pool *pool = argument;
    uint32_t seen = 0;
    for (;;) {
        for (int spins = 0; spins < SPINS_AT_REST && atomic_load(&pool->run) == seen; spins++) relax();
        if (atomic_load(&pool->run) == seen) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->sleeping, 1); /* before it looks again: see edgec_pool_run */
            while (atomic_load(&pool->run) == seen && !atomic_load(&pool->stop))
                pthread_cond_wait(&pool->wake, &pool->lock);
            atomic_fetch_sub(&pool->sleeping, 1);
            pthread_mutex_unlock(&pool->lock);
        }
        if (atomic_load(&pool->stop)) return NULL;
        seen = atomic_load(&pool->run);
        for (size_t i = 0; i < edgec_step_count; i++) {
            if (!edgec_steps[i].divided) continue;
            if (i > 0 && !wait_for(pool, i - 1, seen)) break;
            share(pool, i, seen);
        }
    }
}

/* All steps, in order. One copy is compiled for a watch with a clock and one for none. */
__attribute__((always_inline)) static inline void do_steps(
    struct edgec_pool *pool, const void *context, struct edgec_stopwatch *watch) {
    if (pool == NULL || pool->workers == 0) {
        for (size_t i = 0; i < edgec_step_count; i++) {
            edgec_steps[i].call(context, 0, edgec_steps[i].units);
            edgec_stop(watch, i);
        }
        return;
    }
    uint32_t run = atomic_load(&pool->run) + 1;
    pool->context = context;
    /* A thread says that it sleeps before it looks for a run a last time: one of both sees the other. */
    atomic_store(&pool->run, run);
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    for (size_t i = 0; i < edgec_step_count; i++) {
        if (edgec_steps[i].divided) {
            share(pool, i, run);
            wait_for(pool, i, run);
        } else {
            edgec_steps[i].call(context, 0, edgec_steps[i].units);
            uint32_t all = run * (uint32_t)edgec_steps[i].units;
            atomic_store_explicit(&pool->progress[i].done, all, memory_order_release);
        }
        edgec_stop(watch, i);
    }
}

void edgec_pool_run(struct edgec_pool *pool, const void *context) {
    struct edgec_stopwatch none = {NULL, 0, NULL};
    do_steps(pool, context, &none);
}

void edgec_pool_profile(struct edgec_pool *pool, const void *context, uint64_t (*clock)(void), uint64_t *ticks) {
    struct edgec_stopwatch watch = {clock, clock(), ticks};
    do_steps(pool, context, &watch);
}

static uint64_t nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t (*const edgec_system_clock)(void) = nanoseconds;

/* Whether any step is work for more than one thread. */
static int is_divided(void) {
    for (size_t i = 0; i < edgec_step_count; i++)
        if (edgec_steps[i].divided) return 1;
    return 0;
}

__attribute__((visibility("default"))) void edgec_pool_destroy(struct edgec_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, 1);
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
    int workers = threads > 1 && is_divided() ? threads - 1 : 0;
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
