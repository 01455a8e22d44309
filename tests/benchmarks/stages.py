"""Seconds of each stage for one panoramic, through a whole gateway: received, quiet, analyze, report, deliver.

Use: python -m tests.benchmarks.stages [REPEATS]
"""

import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.builders import as_bytes, uid_of, xray
from tests.gateway import Gateway, gateway
from workers.training.phantom import panoramic_phantom

QUIET_SECONDS = 0.5


def main(repeats: int = 5) -> None:
    """Send panoramics of 2880 x 1504 pixels, 12 bit, one after the other; the first, with cold models, stands apart."""
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            f'[analysis]\nallow_research_models = true\n[[destination]]\nname = "folder"\nurl = "{_uri(folder)}"\n'
        )
        with gateway(Path(folder) / "gateway", settings, quiet_seconds=QUIET_SECONDS) as running:
            rows = [_measure(running, Path(folder), number) for number in range(repeats + 1)]
    print(f"one panoramic, 2880x1504, 12 bit, phantom; quiet_seconds {QUIET_SECONDS}; seconds")
    print(f"{'stage':<26}{'first':>8}{'median':>8}{'min':>8}{'max':>8}")
    for stage in rows[0]:
        warm = [row[stage] for row in rows[1:]]
        figures = (rows[0][stage], statistics.median(warm), min(warm), max(warm))
        print(f"{stage:<26}" + "".join(f"{figure:8.2f}" for figure in figures))


def _uri(folder: str) -> str:
    return (Path(folder) / "delivered").as_uri()


def _measure(running: Gateway, folder: Path, number: int) -> dict[str, float]:
    seed = f"bench-{number}"
    path = folder / f"{number}.dcm"
    path.write_bytes(as_bytes(xray(panoramic_phantom(700 + number).pixels, seed=seed)))
    started = time.perf_counter()
    running.send([path])
    sent = time.perf_counter() - started
    running.wait_for(number + 1, ("delivered",))
    detail = running.study(uid_of(seed, "study"))
    job = detail["jobs"][0]
    steps = {step["stage"]: step for step in (*job["stages"], *job["deliveries"])}
    ends = max(datetime.fromisoformat(step["finished_at"]) for step in steps.values())
    return {
        "send (storescu, whole)": sent,
        **{name: float(step["seconds"]) for name, step in steps.items()},
        "quiet to delivered": (ends - datetime.fromisoformat(job["created_at"])).total_seconds(),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
