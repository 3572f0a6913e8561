"""Hostile files for every reader: what is neither read nor refused with one of our own errors is a finding.

    python benchmarks/fuzz.py --inputs 200000 --seed 0          # all readers, each by its share
    python benchmarks/fuzz.py --inputs 5000 --reader uai cfn    # so many for each of these
    python benchmarks/fuzz.py --list

Inputs are valid files after changes of their bytes (flips, cuts, splices, odd numbers, deep nesting, marks of YAML) or
of the values in them. An input depends on the seed, the reader and its number alone. Each reader has a process of its
own, which may take 1 GiB more memory than it has after reading valid files, and 10 seconds of processor time for an
input; warnings count as errors. The record says how many inputs were read and refused and how many kinds of refusals
there were. Findings are made shorter and written next to it; the script then ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts.fuzz_artefacts import ARTEFACT_READERS
from parts.fuzz_inputs import INPUT_READERS
from parts.fuzz_loop import Finding, Tally, fuzzed, minimised, tried
from parts.fuzz_reader import Reader

from taskpgm import __version__
from taskpgm.storage import versions

READERS: tuple[Reader, ...] = (*INPUT_READERS, *ARTEFACT_READERS)
MEMORY = 2**30
DEAD = 300.0
RECORD = Path(__file__).parent / "results" / "fuzz" / "record.json"
LIBRARIES = ("numpy", "pyyaml", "pydantic", "pyarrow", "safetensors")


def main() -> None:
    arguments = _parsed()
    if arguments.list:
        for reader in READERS:
            print(reader.name)
        return
    named = [reader for reader in READERS if reader.name in arguments.reader]
    shares = sum(reader.share for reader in READERS)
    rows, findings, commit = [], [], _commit()
    for reader in named or READERS:
        inputs = arguments.inputs if named else -(-arguments.inputs * reader.share // shares)
        row, found = in_process(reader, inputs, arguments.seed)
        rows.append(row)
        findings += found
        print(
            f"{reader.name}: {row['inputs']} inputs, {row['accepted']} read, {row['refused']} refused in"
            f" {row['messages']} ways, {row['findings']} findings, {row['inputs_per_second']:.0f} a second",
            flush=True,
        )
    write_record(arguments, commit, rows, findings)
    sys.exit(1 if findings else 0)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="in all, or for each --reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", nargs="*", default=[], choices=[reader.name for reader in READERS], metavar="NAME")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record; findings go next to it")
    parser.add_argument("--list", action="store_true", help="name the readers")
    return parser.parse_args()


def in_process(reader: Reader, inputs: int, seed: int) -> tuple[dict[str, Any], list[Finding]]:
    """A reader's row of the record, and its findings; the process that dies is a finding as well."""
    start = time.perf_counter()
    receiving, sending = multiprocessing.get_context("fork").Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(reader, Path(folder), inputs, seed, sending)
        )
        process.start()
        sending.close()
        tally, last = Tally(), 0
        try:
            while receiving.poll(DEAD):
                told = receiving.recv()
                if isinstance(told, Tally):
                    tally = told
                    break
                last = told
        except EOFError:
            pass
        process.kill()
        process.join()
        if tally.inputs < inputs:
            data = (Path(folder) / reader.file).read_bytes()
            error = f"the process ended (exit code {process.exitcode}) or did not answer, near input {last}"
            tally.findings.append(Finding(reader.name, last, error, "process", data))
    seconds = time.perf_counter() - start
    row = {
        "reader": reader.name,
        "inputs": tally.inputs,
        "accepted": tally.accepted,
        "refused": tally.messages.total(),
        "messages": len(tally.messages),
        "findings": len(tally.findings),
        "seconds": round(seconds, 1),
        "inputs_per_second": round(tally.inputs / seconds, 1),
        "slowest_seconds": round(tally.slowest, 3),
    }
    return row, tally.findings


def _work(reader: Reader, folder: Path, inputs: int, seed: int, sending: Any) -> None:
    for data in reader.seeds:  # imports and compiles what reading takes, before memory is counted
        tried(reader, folder / reader.file, data, Tally())
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tally = fuzzed(reader, folder, inputs, seed, told=lambda number: None if number % 100 else sending.send(number))
    for i, finding in enumerate(tally.findings[:20]):
        data = minimised(reader, folder / reader.file, finding)
        tally.findings[i] = Finding(finding.reader, finding.number, finding.error, finding.place, data)
    sending.send(tally)


def write_record(arguments: argparse.Namespace, commit: str, rows: Sequence[Any], findings: Sequence[Finding]) -> None:
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": " ".join(["python", "benchmarks/fuzz.py", *sys.argv[1:]]),
        "seed": arguments.seed,
        "taskpgm": __version__,
        "commit": commit,
        "python": platform.python_version(),
        "versions": versions(*LIBRARIES),
        "inputs": sum(row["inputs"] for row in rows),
        "findings": len(findings),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "readers": rows,
    }
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for finding in findings:
        name = f"{finding.reader}-{arguments.seed}-{finding.number}"
        out.with_name(f"finding-{name}").write_bytes(finding.data)
        print(f"finding-{name}: {finding.place}: {finding.error}")
    print(f"{record['inputs']} inputs, {record['findings']} findings, written to {out}")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
