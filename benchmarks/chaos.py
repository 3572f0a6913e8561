"""Does a run end with the same bytes, whatever happens to it? Faults at random moments and places, many of them.

    python benchmarks/chaos.py --faults 200 --seed 0 --to benchmarks/results/chaos
    python benchmarks/chaos.py --faults 20 --only flipped cut --keep chaos

First a run that nothing disturbs, of a tiny model on a few tasks. Then the same run again and again, each time with a
fault: killed or stopped at a random moment, a disk without room, a clock that jumps, files with a flipped bit, cut off
or gone, two runs at once, and with Ray (if it is there) a worker that dies. After each fault the same command is given
until it is done. What has to hold: an exit code that is documented, never a traceback, no finished artefact lost that
the fault did not damage, and in the end the mixture of the undisturbed run, byte for byte.

A disk without room is a small file system in memory, which mounting takes root for; without that, it is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from parts.chaos_faults import FAULTS, Attempt, Ground, finish, sizes, small_disk, sound, usable
from parts.chaos_project import write_project

from taskpgm.storage import canonical_json, versions, write_atomic

MOST_ATTEMPTS = 4  # of the undisturbed command after a fault, before it is a failure


@dataclass(frozen=True)
class Outcome:
    """One fault. code: of the attempt that met it. met: there was work left. wrong: what must not have been."""

    fault: str
    what: str
    code: int
    met: bool
    seconds: float
    wrong: tuple[str, ...]


def chaos(faults: int, seed: int, names: tuple[str, ...], place: Path, say: Callable[[str], None]) -> list[Outcome]:
    """The outcome of so many faults, of the named kinds in turn."""
    ground = Ground(write_project(place / "project"), place / "disk" / "run", random.Random(seed))
    began, first = time.monotonic(), finish(ground)
    if first.code != 0:
        sys.exit(f"error: the undisturbed run ends with {first.code}: {first.errors.strip()}")
    written = sizes(ground.out).values()
    ground.files, ground.size = len(written), sum(written)
    expected = (ground.out / "mixture.json").read_bytes()
    seconds, artefacts = time.monotonic() - began, len(sound(ground.out))
    say(f"undisturbed: {seconds:.1f} s, {ground.files} files, {ground.size:,} bytes, {artefacts} artefacts")
    found = []
    for number in range(faults):
        outcome = _one(names[number % len(names)], ground, expected)
        found.append(outcome)
        wrong = f"  WRONG: {'; '.join(outcome.wrong)}" if outcome.wrong else ""
        late = "" if outcome.met else "  not met"
        ending = f"({outcome.code}, {outcome.seconds:.1f} s){late}{wrong}"
        say(f"{number + 1:4d} {outcome.fault:12s} {outcome.what} {ending}")
    return found


def _one(name: str, ground: Ground, expected: bytes) -> Outcome:
    """One fault and what came of it; on a folder where nothing is finished, or something, or all."""
    began, wrong = time.monotonic(), []
    if FAULTS[name].at_work or ground.random.random() < 0.5:
        shutil.rmtree(ground.out, ignore_errors=True)
        if ground.random.random() < 0.5:
            FAULTS["killed"].happen(ground)
            if FAULTS[name].at_work and (ground.out / "mixture.json").is_file():  # the kill came too late
                shutil.rmtree(ground.out)
    before = sound(ground.out)
    met = FAULTS[name].happen(ground)
    wrong += _unheard_of(met, FAULTS[name].codes)
    lost = {each for each in before - sound(ground.out) if not any(each[0].startswith(part) for part in met.damaged)}
    wrong += [f"lost {path}" for path, _ in sorted(lost)]
    for _ in range(MOST_ATTEMPTS):
        after = finish(ground)
        wrong += _unheard_of(after, (0,))
        if after.code == 0:
            break
    mixture = ground.out / "mixture.json"
    if not mixture.is_file():
        wrong.append("no mixture")
    elif mixture.read_bytes() != expected:
        wrong.append("another mixture")
        shutil.rmtree(ground.out)
    return Outcome(name, met.what, met.code, met.met, round(time.monotonic() - began, 2), tuple(wrong))


def _unheard_of(attempt: Attempt, codes: tuple[int, ...]) -> list[str]:
    """What an attempt must not end with: another exit code, or a traceback."""
    found = []
    if attempt.code not in codes:
        found.append(f"exit code {attempt.code}: {attempt.errors.strip()[-300:]}")
    if "Traceback" in attempt.errors:
        found.append(f"a traceback: {attempt.errors.strip()[-600:]}")
    return found


# -------------------------------------------------------------------------------------------------------------- record


def record(found: list[Outcome], seed: int, seconds: float, only: str) -> dict[str, object]:
    """What is kept: how often each fault ended how, and all that went wrong."""
    by_fault = {}
    for name in dict.fromkeys(each.fault for each in found):
        own = [each for each in found if each.fault == name]
        codes = Counter(f"exit code {each.code}" for each in own)
        by_fault[name] = {
            "faults": len(own),
            "at work": sum(each.met for each in own),
            "codes": dict(sorted(codes.items())),
            "same mixture in the end": sum(not each.wrong for each in own),
        }
    return {
        "command": f"python benchmarks/chaos.py --faults {len(found)} --seed {seed}" + only,
        "faults": len(found),
        "seconds": round(seconds),
        "wrong": [asdict(each) for each in found if each.wrong],
        "by_fault": by_fault,
        "python": platform.python_version(),
        "versions": versions("taskpgm", "torch", "transformers", "safetensors", "numpy"),
    }


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="kinds of faults; all that can happen here")
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is left as it is")
    parser.add_argument("--to", type=Path, help="a folder for the record")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored, and so by the runs
    began = time.monotonic()
    chosen = ["--only", *map(shlex.quote, arguments.only)] if arguments.only else []
    names = tuple(arguments.only or usable(lambda line: print(line, flush=True)))
    with _place(arguments.keep) as place, small_disk(place / "disk") if "full disk" in names else nullcontext():
        found = chaos(arguments.faults, arguments.seed, names, place, lambda line: print(line, flush=True))
    told = record(found, arguments.seed, time.monotonic() - began, "".join(f" {each}" for each in chosen))
    if arguments.to is not None:
        write_atomic(arguments.to / f"seed-{arguments.seed}.json", (canonical_json(told) + "\n").encode())
    print(json.dumps({key: told[key] for key in ("faults", "seconds", "by_fault")}, indent=1))
    if told["wrong"]:
        sys.exit(f"{len(found) - sum(not each.wrong for each in found)} of {len(found)} faults did harm.")
    print(f"All {len(found)} ended with the undisturbed run's mixture, and nothing was lost.")


if __name__ == "__main__":
    main()
