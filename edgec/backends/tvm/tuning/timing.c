/* Times variants of one kernel in turns on a board, as timing.py does in its own process. job.h is written for them.

       timing ROUNDS PROCESSORS NUMBER...      PROCESSORS: "-", or those to run on: "4,5"

   It prints {"calls": of one reading of the clock, "idle": [ns...], "busy": {"NUMBER": [ns...], ...}}, nanoseconds of
   all those calls. Idle calls do no unit of work: they tell what calling takes. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct operand {
    size_t offset, size, header; /* offset: in headers, where it has a size; else in the arena */
};

extern const uint8_t headers[];
__asm__(
    ".section .rodata.edgec,\"a\"\n"
    ".balign 64\n"
    ".globl headers\n"
    "headers:\n"
    ".incbin \"headers.bin\"\n"
    ".balign 64\n"
    ".previous\n");

#include "job.h" /* ARENA, COPIES, FILLING, LONG, OPERANDS, CALL, operands, variants, units */

static const void *addresses[COPIES][OPERANDS];

/* Memory with room on both sides, which kernels may read. */
static uint8_t *room(size_t size) {
    uint8_t *memory = calloc(1, size + 4 * 64);
    if (memory == NULL) {
        fputs("there is not enough memory\n", stderr);
        exit(1);
    }
    return memory + 64 + (64 - (uintptr_t)memory % 64) % 64;
}

static void prepare(void) {
    uint8_t *arena = room(ARENA);
    memset(arena, 1, ARENA);
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t number = 0; number < OPERANDS; number++) {
            struct operand operand = operands[number];
            uint8_t *place = arena + operand.offset;
            if (operand.size > 0) {
                place = room(operand.size);
                memset(place, FILLING, operand.size); /* and header as in timing.py */
                memcpy(place, headers + operand.offset, operand.header);
            }
            addresses[copy][number] = place;
        }
    }
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t timed(int number, int64_t count, int idle) {
    int32_t end = idle ? 0 : units[number];
    int64_t began = now();
    for (int64_t call = 0; call < count; call++) {
        const void *const *row = addresses[call % COPIES];
        CALL(variants[number], row, 0, end);
    }
    return now() - began;
}

static void stay_on(const char *processors) {
    if (strcmp(processors, "-") == 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (char *end; *processors != 0; processors = *end == ',' ? end + 1 : end) {
        long number = strtol(processors, &end, 10);
        if (end == processors || number < 0 || number >= CPU_SETSIZE) break;
        CPU_SET((size_t)number, &set);
    }
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fputs("the processors can't be chosen\n", stderr);
        exit(1);
    }
}

static void print(const char *before, const int64_t *times, int count) {
    printf("%s[", before);
    for (int each = 0; each < count; each++) printf("%s%lld", each == 0 ? "" : ", ", (long long)times[each]);
    printf("]");
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int rounds = atoi(argv[1]), count = argc - 3;
    stay_on(argv[2]);
    prepare();
    int64_t calls = 1;
    for (int each = 0; each < count; each++) {
        int number = atoi(argv[3 + each]);
        timed(number, 2, 0);
        int64_t one = timed(number, 1, 0), needed = LONG / (one > 0 ? one : 1);
        if (needed > 2000) needed = 2000;
        if (needed > calls) calls = needed;
    }
    int64_t *busy = calloc((size_t)(rounds * count), sizeof *busy), *idle = calloc((size_t)(rounds * count), sizeof *idle);
    if (busy == NULL || idle == NULL) return 1;
    for (int round = 0; round < rounds; round++) {
        for (int each = 0; each < count; each++) {
            int number = atoi(argv[3 + each]);
            busy[each * rounds + round] = timed(number, calls, 0);
            idle[each * rounds + round] = timed(number, calls, 1);
        }
    }
    printf("{\"calls\": %lld, ", (long long)calls);
    print("\"idle\": ", idle, rounds * count);
    printf(", \"busy\": {");
    for (int each = 0; each < count; each++) {
        printf("%s\"%s\": ", each == 0 ? "" : ", ", argv[3 + each]);
        print("", busy + each * rounds, rounds);
    }
    printf("}}\n");
    return 0;
}
