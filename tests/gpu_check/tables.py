#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Markdown tables of measured numbers.

    tables.py benchmarks FILE   the JSON of Google Benchmark: a table for each benchmark
    tables.py lines FILE        one JSON object a line: a row for each
"""
import json
import sys

# Counters that stand in the tables, and their titles there; the rest is in the JSON.
COLUMNS = (
    ("GB/s", "GB/s"),
    ("% of copy", "% of copy"),
    ("GFLOP/s", "GFLOP/s"),
    ("% of matrix ceiling", "% of matrix ceiling"),
    ("cublas_us", "cuBLAS, µs"),
    ("speed of cublas", "times cuBLAS's speed"),
)
# Of the name: how it was run, not what.
NOT_A_SHAPE = ("iterations:", "manual_time", "real_time")


def print_table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def text(value):
    """Three digits and more, without an exponent."""
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shape_of(run):
    parts = run["name"].split("/")[1:]
    return ", ".join(p.replace(":", " ") for p in parts if not p.startswith(NOT_A_SHAPE)) or "-"


def microseconds(run):
    return run["real_time"] * {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6}[run["time_unit"]]


def print_benchmarks(report):
    for key in ("gpu", "cuda_of_driver", "cuda_runtime", "l2_bytes"):
        if key in report["context"]:
            print(f"- {key}: {report['context'][key]}")
    print()
    families = {}
    for run in report["benchmarks"]:
        families.setdefault(run["name"].split("/")[0], []).append(run)
    for name, runs in families.items():
        columns = [c for c in COLUMNS if any(c[0] in run for run in runs)]
        rows = []
        for run in runs:
            if run.get("error_occurred"):
                failure = "**" + text(run["error_message"]) + "**"
                rows.append([shape_of(run), failure] + [""] * len(columns))
                continue
            cells = [text(run[key]) if key in run else "" for key, _ in columns]
            rows.append([shape_of(run), text(microseconds(run))] + cells)
        print(f"#### {name}\n")
        print_table(["shape", "µs"] + [title for _, title in columns], rows)


def print_lines(lines):
    records = [json.loads(line) for line in lines if line.startswith("{")]
    header = list(dict.fromkeys(key for record in records for key in record))
    print_table(header, [[text(record.get(key, "")) for key in header] for record in records])


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("benchmarks", "lines"):
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as file:
        if sys.argv[1] == "benchmarks":
            print_benchmarks(json.load(file))
        else:
            print_lines(file)


main()
