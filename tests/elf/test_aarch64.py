"""Instructions of each extension are told from those that every core has.

LLVM's assembler, which knows the architecture by itself, makes the words.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from edgec.elf.aarch64 import A64, extensions

EXTENSIONS = {
    "asimddp": """
        sdot v0.4s, v1.16b, v2.16b
        udot v31.2s, v30.8b, v29.8b
        sdot v3.4s, v4.16b, v5.4b[3]
        udot v6.2s, v7.8b, v31.4b[0]
    """,
    "i8mm": """
        smmla v0.4s, v1.16b, v2.16b
        ummla v31.4s, v30.16b, v29.16b
        usmmla v3.4s, v4.16b, v5.16b
        usdot v6.4s, v7.16b, v8.16b
        usdot v6.2s, v7.8b, v31.4b[1]
        sudot v9.4s, v10.16b, v11.4b[2]
    """,
    "bf16": """
        bfdot v0.4s, v1.8h, v2.8h
        bfdot v3.2s, v4.4h, v5.2h[3]
        bfmlalb v6.4s, v7.8h, v8.8h
        bfmlalt v9.4s, v10.8h, v11.h[7]
        bfmmla v12.4s, v13.8h, v14.8h
        bfcvtn v15.4h, v16.4s
        bfcvtn2 v17.8h, v18.4s
        bfcvt h19, s20
    """,
    "fphp": """
        fadd h0, h1, h2
        fmul h31, h30, h29
        fdiv h3, h4, h5
        fmadd h6, h7, h8, h9
        fnmsub h10, h11, h12, h13
        fsqrt h14, h15
        fabs h16, h17
        frintx h18, h19
        fmov h20, #1.0
        fmov h21, w1
        fmov x2, h22
        fcmp h23, h24
        fcmpe h25, #0.0
        fccmp h26, h27, #3, ne
        fcsel h28, h29, h30, lt
        scvtf h1, w2
        ucvtf h3, x4
        fcvtzs w5, h6
        scvtf h7, w8, #12
        fcvtzu x9, h10, #33
    """,
    "asimdhp": """
        fadd v0.8h, v1.8h, v2.8h
        fmla v3.4h, v4.4h, v5.4h
        fmulx v6.8h, v7.8h, v8.8h
        fcmeq v9.4h, v10.4h, #0.0
        facgt h11, h12, h13
        fabd h14, h15, h16
        fmax v17.8h, v18.8h, v19.8h
        fmla v20.8h, v21.8h, v15.h[7]
        fmls h22, h23, v14.h[1]
        fmul v24.4h, v25.4h, v13.h[0]
        fmulx h26, h27, v12.h[5]
        fmaxnmv h28, v29.8h
        fminv h30, v31.4h
        faddp h0, v1.2h
        fmaxnmp h2, v3.2h
        fminp h4, v5.2h
        fmov v6.8h, #2.0
        scvtf v7.8h, v8.8h
        ucvtf h9, h10
        fcvtzs v11.4h, v12.4h
        scvtf v13.8h, v14.8h, #7
        fcvtzu h15, h16, #5
        frecpe v17.8h, v18.8h
        frsqrte h19, h20
        fsqrt v21.8h, v22.8h
        frintn v23.4h, v24.4h
    """,
    "asimdfhm": """
        fmlal v0.4s, v1.4h, v2.4h
        fmlsl2 v3.4s, v4.4h, v5.4h
        fmlal2 v6.2s, v7.2h, v8.h[1]
        fmlsl v9.4s, v10.4h, v11.h[6]
    """,
    "asimdrdm": """
        sqrdmlah v0.4s, v1.4s, v2.4s
        sqrdmlsh h3, h4, h5
        sqrdmlah v6.8h, v7.8h, v8.h[7]
        sqrdmlsh s9, s10, v11.s[3]
    """,
    "fcma": """
        fcmla v0.4s, v1.4s, v2.4s, #90
        fcadd v3.2d, v4.2d, v5.2d, #270
        fcmla v6.4s, v7.4s, v8.s[1], #180
    """,
    "jscvt": "fjcvtzs w0, d1",
    "atomics": """
        cas w0, w1, [x2]
        casal x3, x4, [sp]
        casab w5, w6, [x7]
        caspal x8, x9, x10, x11, [x12]
        ldadd w13, w14, [x15]
        ldaddal x16, x17, [x18]
        stadd w19, [x20]
        ldclrh w21, w22, [x23]
        ldeora x24, x25, [x26]
        ldsetlb w27, w28, [x29]
        ldsmax w0, w1, [x2]
        lduminal x3, x4, [x5]
        swpal w6, w7, [x8]
        swpb w9, w10, [x11]
    """,
    "lrcpc": """
        ldapr w0, [x1]
        ldaprb w2, [x3]
        ldaprh w4, [x5]
        ldapr x6, [x7]
    """,
    "ilrcpc": """
        ldapur w0, [x1, #4]
        stlur x2, [x3, #-8]
        ldapursb w4, [x5]
    """,
    "crc32": """
        crc32b w0, w1, w2
        crc32cx w3, w4, x5
    """,
    "aes": """
        aese v0.16b, v1.16b
        aesimc v2.16b, v3.16b
    """,
    "pmull": """
        pmull v0.1q, v1.1d, v2.1d
        pmull2 v3.1q, v4.2d, v5.2d
    """,
    "sha1": """
        sha1c q0, s1, v2.4s
        sha1su0 v3.4s, v4.4s, v5.4s
        sha1h s6, s7
        sha1su1 v8.4s, v9.4s
    """,
    "sha2": """
        sha256h q0, q1, v2.4s
        sha256h2 q3, q4, v5.4s
        sha256su0 v6.4s, v7.4s
        sha256su1 v8.4s, v9.4s, v10.4s
    """,
    "sha512": """
        sha512h q0, q1, v2.2d
        sha512h2 q3, q4, v5.2d
        sha512su0 v6.2d, v7.2d
        sha512su1 v8.2d, v9.2d, v10.2d
    """,
    "sha3": """
        eor3 v0.16b, v1.16b, v2.16b, v3.16b
        bcax v4.16b, v5.16b, v6.16b, v7.16b
        rax1 v8.2d, v9.2d, v10.2d
        xar v11.2d, v12.2d, v13.2d, #13
    """,
    "sve": """
        ptrue p0.s
        whilelt p1.b, w0, w1
        ld1w {z0.s}, p0/z, [x0]
        fmla z1.s, p0/m, z2.s, z3.s
        sdot z4.s, z5.b, z6.b
        st1b {z7.b}, p1, [x1, x2]
        addvl sp, sp, #-1
        incb x3
        cmpeq p2.b, p0/z, z8.b, #0
        setffr
        rdffr p3.b
        sel z11.d, p1, z12.d, z13.d
        faddv s0, p0, z14.s
        prfb #0, p0, [x4]
    """,
    "sve sve2": """
        sqrdmlah z0.s, z1.s, z2.s
        whilehs p0.b, w0, w1
        smlalb z3.s, z4.h, z5.h
        sqrdmulh z6.s, z7.s, z8.s
        tbl z9.b, {z10.b, z11.b}, z12.b
        eor3 z13.d, z13.d, z14.d, z15.d
        addp z16.s, p0/m, z16.s, z17.s
        histseg z18.b, z19.b, z20.b
        ldnt1b {z21.s}, p0/z, [z22.s, x0]
        match p1.b, p0/z, z23.b, z24.b
        sqxtnb z25.b, z26.h
        ext z27.b, {z28.b, z29.b}, #4
    """,
    "sme": """
        fmopa za0.s, p0/m, p1/m, z0.s, z1.s
        smopa za1.s, p2/m, p3/m, z2.b, z3.b
        zero {za}
        ldr za[w12, 0], [x0]
    """,
}

EVERY_CORE = """
    fcvt s0, h1
    fcvt d2, h3
    fcvt h4, s5
    fcvt h6, d7
    fcvtl v8.4s, v9.4h
    fcvtn2 v10.8h, v11.4s
    ldr h12, [x0]
    str h13, [x1, #2]
    fadd s0, s1, s2
    fmadd d3, d4, d5, d6
    fcsel s7, s8, s9, ne
    fmov d10, #1.0
    fmov x2, d11
    fmov v12.d[1], x3
    scvtf s13, w4, #8
    fmla v14.4s, v15.4s, v16.4s
    fmla v17.4s, v18.4s, v19.s[3]
    fmulx d20, d21, v22.d[1]
    fmaxnmv s23, v24.4s
    faddp d25, v26.2d
    fmov v27.2d, #1.0
    fmov v28.4s, #1.0
    movi v29.8h, #1, lsl #8
    scvtf v30.4s, v31.4s, #3
    sqrdmulh v0.8h, v1.8h, v2.8h
    sqrdmulh v3.8h, v4.8h, v5.h[7]
    sqdmlal v6.4s, v7.4h, v8.4h
    smull v9.8h, v10.8b, v11.8b
    smlal2 v12.4s, v13.8h, v14.h[5]
    umlsl v15.2d, v16.2s, v17.s[1]
    mla v18.16b, v19.16b, v20.16b
    pmull v21.8h, v22.8b, v23.8b
    pmul v24.16b, v25.16b, v26.16b
    addp d27, v28.2d
    addv b29, v30.16b
    saddlp v31.8h, v0.16b
    sshll v1.8h, v2.8b, #3
    sqshrun v3.8b, v4.8h, #2
    rshrn2 v5.16b, v6.8h, #1
    tbl v7.16b, {v8.16b, v9.16b}, v10.16b
    ext v11.16b, v12.16b, v13.16b, #7
    zip1 v14.8h, v15.8h, v16.8h
    dup v17.4s, w5
    ins v18.h[3], v19.h[0]
    umov w6, v20.b[9]
    cmeq v21.16b, v22.16b, v23.16b
    bsl v24.16b, v25.16b, v26.16b
    cnt v27.16b, v28.16b
    ld1 {v0.16b, v1.16b}, [x0], #32
    ld4 {v2.4s, v3.4s, v4.4s, v5.4s}, [x1]
    st2 {v6.8h, v7.8h}, [x2]
    ldp q8, q9, [x3]
    ldxr w0, [x1]
    stlxr w2, w3, [x4]
    ldaxp x5, x6, [x7]
    stxp w8, x9, x10, [x11]
    ldar w12, [x13]
    stlrb w14, [x15]
    ldr x0, [x1, x2, lsl #3]
    ldur w3, [x4, #-5]
    ldtr x5, [x6]
    ldrsw x7, [x8], #4
    madd x9, x10, x11, x12
    smulh x13, x14, x15
    udiv w16, w17, w18
    lslv x19, x20, x21
    csel x22, x23, x24, eq
    ccmp x25, #3, #1, ne
    bfi w26, w27, #3, #5
    extr x28, x29, x30, #17
    rbit x0, x1
    adrp x2, .
    add x3, x4, w5, sxtw #2
    and x6, x7, #0xff00ff00ff00ff
    movk x8, #1, lsl #48
    cbz w9, .
    tbnz x10, #40, .
    bl .
    ret
    hint #25
    paciasp
    bti c
    dmb ish
    mrs x11, tpidr_el0
    nop
"""

_ALL = "generic+v9a+sve2+bf16+i8mm+fp16fml+sha3+sme+crypto+aes+sha2+dotprod+fullfp16+rcpc_immo+jsconv+complxnum"


@pytest.fixture
def assemble(tmp_path):
    """Gives the words of lines of assembly."""

    def run(text: str) -> dict[str, bytes]:
        lines = [line.strip() for line in text.strip().splitlines()]
        (tmp_path / "lines.s").write_text("\n".join((".text", *lines, "")))
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu", f"-mcpu={_ALL}", "-c"]
        done = subprocess.run(
            [*command, "-o", "lines.o", "lines.s"], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        with (tmp_path / "lines.o").open("rb") as stream:
            code = ELFFile(stream).get_section_by_name(".text").data()
        assert len(code) == 4 * len(lines)
        return {line: code[4 * index : 4 * index + 4] for index, line in enumerate(lines)}

    return run


def test_each_instruction_belongs_to_its_extension(assemble):
    wanted = {line.strip(): names.split() for names, text in EXTENSIONS.items() for line in text.strip().splitlines()}
    words = assemble("\n".join(wanted))
    assert {line: sorted(extensions(word)) for line, word in words.items()} == wanted
    assert {name for names in wanted.values() for name in names} == set(A64)


def test_what_every_core_has_belongs_to_none(assemble):
    words = assemble(EVERY_CORE)
    assert len(words) > 80
    assert {line: used for line, word in words.items() if (used := extensions(word))} == {}


def test_known_encodings():
    """Words as the Arm Architecture Reference Manual's diagrams give them, with register numbers 2, 1 and 0."""
    known = {
        0x4E829420: "asimddp",
        0x6E829420: "asimddp",
        0x4E82A420: "i8mm",
        0xB8220020: "atomics",
        0x4E421420: "asimdhp",
    }
    for word, name in known.items():
        assert list(extensions(word.to_bytes(4, "little"))) == [name]


def test_uses_are_counted_and_the_first_is_located():
    nop, sdot = 0xD503201F, 0x4E829420
    words = np.full(100_000, nop, "<u4")
    words[[70_000, 70_001, 99_999]] = sdot  # more than is looked at in one piece
    (use,) = extensions(words.tobytes(), address=0x1000).values()
    assert (use.count, use.address) == (3, 0x1000 + 4 * 70_000)


def test_bytes_after_the_last_whole_word_are_no_instruction():
    assert extensions((0x4E829420).to_bytes(4, "little")[:3]) == {}


OUT_OF_LINE = """
    cbz w16, .+12
    ldaddal w0, w0, [x1]
    ret
"""


def test_atomics_that_ask_first_whether_the_core_has_them_are_none(assemble):
    asking = b"".join(assemble(OUT_OF_LINE).values())
    assert extensions(asking) == {}
    assert list(extensions(asking[4:])) == ["atomics"]
    assert list(extensions(asking[:8])) == ["atomics"]
