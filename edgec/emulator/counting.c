/* A plugin of QEMU's user mode that counts the instructions that a program executes, by kind.
 *
 * For every block of instructions that QEMU translates it keeps how many of each kind the block has, and how often the
 * block ran. A block is left at its end only (but for signals), so the sums are exact.
 *
 * The program marks the moments that matter by a system call that means nothing to the kernel, prctl(EDGEC_MARK_1,
 * EDGEC_MARK_2): it returns EINVAL, and a line is written with the sums up to there. The last line is that of the end.
 *
 * Declared here is the small part of QEMU's interface for plugins (include/qemu/qemu-plugin.h, docs/devel/tcg-plugins)
 * that this needs. It is the same in all versions of the interface from 1 on (tried: QEMU 7.2 and 10.0); versions differ in what
 * is not used here: inline operations and qemu_plugin_insn_data.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_name; /* "aarch64", "arm"; what follows is not needed */
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned, void *), enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t,
    void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
             uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);

PUBLIC int qemu_plugin_version = EDGEC_PLUGIN_VERSION;

enum kind { MULTIPLY, VECTOR, MEMORY, BRANCH, OTHER, KINDS };

struct block {
    struct block *next;
    uint64_t runs;
    uint32_t of[KINDS];
};

static struct block *blocks;
static FILE *out;
static int a64;

/* A64 by its top-level table: Arm Architecture Reference Manual, C4.1, "A64 instruction set encoding", bits 28:25. */
static enum kind kind_of(uint32_t word) {
    uint32_t op = word >> 25 & 0xF;
    if ((op & 0x5) == 0x4) return MEMORY;  /* x1x0, vectors' loads and stores among them */
    if ((op & 0xE) == 0xA) return BRANCH;  /* 101x: branches, exceptions, system */
    if ((op & 0x7) != 0x7) return OTHER;   /* x111: floating point and vectors */
    /* C4.1, "Advanced SIMD": what multiplies, with or without adding, integers and floats. */
    uint32_t opcode = word >> 11 & 0x1F, longs = word >> 12 & 0xF;
    if ((word & 0x9F000400) == 0x0F000000) return MULTIPLY; /* vector by element */
    if ((word & 0x9F200C00) == 0x0E200000) /* three different */
        return longs >= 0x8 ? MULTIPLY : VECTOR;
    if ((word & 0x9F208400) == 0x0E008400) /* three same, extra: (u)sdot, smmla, sqrdmlah */
        return MULTIPLY;
    if ((word & 0x9F200400) == 0x0E200400) /* three same: (f)mla, (f)mul, sq(r)dmulh, fmls */
        return opcode == 0x12 || opcode == 0x13 || opcode == 0x16 || opcode == 0x19 || opcode == 0x1B ? MULTIPLY : VECTOR;
    if ((word & 0x9F60C400) == 0x0E400400) /* three same, FP16: fmla, fmls, fmul */
        return (word >> 11 & 0x7) == 0x1 || (word >> 11 & 0x7) == 0x3 ? MULTIPLY : VECTOR;
    return VECTOR;
}

static void executed(unsigned cpu, void *block) {
    (void)cpu;
    __atomic_fetch_add(&((struct block *)block)->runs, 1, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL) abort();
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        uint32_t word = 0;
        if (a64) memcpy(&word, qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        block->of[a64 ? kind_of(word) : OTHER]++;
    }
    block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void write_sums(const char *moment) {
    uint64_t sums[KINDS] = {0};
    for (struct block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE); block != NULL; block = block->next)
        for (int kind = 0; kind < KINDS; kind++) sums[kind] += block->runs * block->of[kind];
    fprintf(out, "%s", moment);
    for (int kind = 0; kind < KINDS; kind++) fprintf(out, " %" PRIu64, sums[kind]);
    fprintf(out, "\n");
    fflush(out);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (a1 == EDGEC_MARK_1 && a2 == EDGEC_MARK_2) write_sums("mark");
}

static void ended(qemu_plugin_id_t id, void *nothing) {
    (void)id, (void)nothing;
    write_sums("end");
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || (out = fopen(argv[0] + 4, "we")) == NULL) return 1;
    a64 = strcmp(info->target_name, "aarch64") == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
