#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds machine code against promises:  histogram.py NVCC SOURCE_DIR EXPECTATIONS...

Compiles each source named in the expectations for one architecture and counts the instructions of
each kernel. A line of expectations is

    SOURCE KERNEL INSTRUCTION COMPARISON NUMBER

where KERNEL is a part of the mangled name that one or more kernels of SOURCE contain, and all of
them must comply. Without any line nothing is checked; a KERNEL that is not there is an error.
"""

import collections
import operator
import os
import struct
import subprocess
import sys
import tempfile

ARCHITECTURE = "90a"

# The low 12 bits of an instruction of 16 bytes. probe.cu, whose instructions are known, shows that
# they mean this.
OPCODES = {0x981: "LDG", 0x986: "STG", 0x983: "LDL", 0x387: "STL", 0x984: "LDS", 0x388: "STS"}
# Three bits of the upper half tell how much a load or store moves.
WIDTHS = {0: "8", 2: "16", 4: "32", 5: "64", 6: "128"}
COMPARISONS = {"=": operator.eq, ">=": operator.ge}


def compile_cubin(nvcc, source_dir, source, folder):
    cubin = os.path.join(folder, source.replace("/", "_") + ".cubin")
    subprocess.run(
        [nvcc, "-cubin", "-std=c++20", "--diag-suppress=554",
         f"-gencode=arch=compute_{ARCHITECTURE},code=sm_{ARCHITECTURE}",
         f"-I{source_dir}/include", f"-I{source_dir}", "-o", cubin,
         os.path.join(source_dir, source)],
        check=True)
    with open(cubin, "rb") as file:
        return file.read()


def kernels_of(cubin):
    """Yields the name and the instructions of each kernel of an ELF file."""
    (sections_at,) = struct.unpack_from("<Q", cubin, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, sections_at + i * entry_size)
                for i in range(count)]
    names_at = sections[names_index][4]
    for name_offset, _, _, _, begin, size in sections:
        name_at = names_at + name_offset
        name = cubin[name_at:cubin.index(b"\0", name_at)].decode()
        if name.startswith(".text."):
            yield name[len(".text."):], cubin[begin:begin + size]


def histogram(code):
    counts = collections.Counter()
    for low, high in struct.iter_unpack("<QQ", code):
        name = OPCODES.get(low & 0xFFF)
        if name:
            counts[name] += 1
            counts[f"{name}.{WIDTHS.get(high >> 9 & 7, '?')}"] += 1
    return counts


def read_expectations(paths):
    of_source = collections.defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.split("#")[0].split()
                if words:
                    source, kernel, instruction, comparison, number = words
                    of_source[source].append((kernel, instruction, comparison, int(number)))
    return of_source


def main():
    nvcc, source_dir, *paths = sys.argv[1:]
    broken = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        for source, expectations in read_expectations(paths).items():
            cubin = compile_cubin(nvcc, source_dir, source, folder)
            found = {name: histogram(code) for name, code in kernels_of(cubin)}
            for kernel, instruction, comparison, number in expectations:
                matching = {name: counts for name, counts in found.items() if kernel in name}
                if not matching:
                    print(f"{source}: no kernel has {kernel} in its name; there are "
                          + ", ".join(sorted(found)))
                    broken += 1
                for name, counts in matching.items():
                    checked += 1
                    if not COMPARISONS[comparison](counts[instruction], number):
                        print(f"{source}: {name} has {counts[instruction]} {instruction}, "
                              f"expected {comparison} {number}; it has {dict(counts)}")
                        broken += 1
    print(f"{checked} promises checked, {broken} broken")
    return 1 if broken or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
