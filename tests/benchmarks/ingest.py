"""Ingest rate of the listener next to dcmtk's storescp in the same run: ``python -m tests.benchmarks.ingest``.

Both receivers get the same objects from the same sender, in shuffled order, several times. The listener hashes every
object, checks it, fsyncs its file and commits its row before it answers; storescp does none of this. The second folder,
in memory where there is one, shows what remains without the disk's share. storescp listens on every interface, so
everything runs in a network namespace of its own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.servers import free_port, isolated
from tests.unit.listener.raw_scu import connect, encode, image

ROOT = Path(__file__).parents[2]
#: label -> bytes of pixels, objects
LOADS = {"0.5 MB": (525_000, 200), "8.66 MB": (8_660_000, 40)}
ASSOCIATIONS = (1, 4)
Run = tuple[str, str, int]


def make(folder: Path, size: int, count: int) -> None:
    """Objects of noise, ten to a study."""
    noise = np.random.default_rng(1).bytes(size)
    for number in range(count):
        ds = image(number, number // 10 + 1, Rows=size // 1000, Columns=500, PixelData=noise)
        (folder / f"{ds.SOPInstanceUID}.raw").write_bytes(encode(ds))


@contextmanager
def dentgate(folder: Path) -> Iterator[int]:
    """Our listener; its port."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest_listener", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdin
        yield int(process.stdout.readline())
        process.stdin.close()


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """The receiver of dcmtk, tuned as well as it can be; its port."""
    port = free_port()
    binary = shutil.which("storescp", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin") or "storescp"
    command = [binary, "--fork", "+xa", "+B", "-pdu", "131072", "-dhl", "-od", str(folder), str(port)]
    with subprocess.Popen(command, env={"TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            try:
                connect(port).close()
                break
            except ConnectionRefusedError:
                subprocess.run(["sleep", "0.05"], check=True)
        yield port
        process.terminate()


RECEIVERS = {"dentgate": dentgate, "storescp": storescp}


def measure(receiver: str, objects: Path, associations: int, folder: Path) -> float:
    """Seconds for all objects of a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as place, RECEIVERS[receiver](Path(place)) as port:
        command = [sys.executable, "-m", "tests.benchmarks.ingest_sender", str(port), str(associations), str(objects)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        result = json.loads(done.stdout)
    if result["failed"]:
        sys.exit(f"{receiver}: {result['failed']} of {result['objects']} objects were refused")
    return float(result["seconds"])


def main() -> None:
    """Compare in each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each cell")
    folders = [folder for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")) if folder.is_dir()]  # noqa: S108
    parser.add_argument("--folder", type=Path, action="append", help="where both write; may be given several times")
    options = parser.parse_args()
    for folder in options.folder or folders:
        compare(folder, options.repeats)


def compare(folder: Path, repeats: int) -> None:
    """Measure both receivers in one folder and print the table."""
    receivers = [name for name in RECEIVERS if name == "dentgate" or _usable()]
    runs: list[Run] = [
        (receiver, load, number) for receiver in receivers for load in LOADS for number in ASSOCIATIONS
    ] * repeats
    seconds: dict[Run, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for load, (size, count) in LOADS.items():
            (Path(place) / load).mkdir()
            make(Path(place) / load, size, count)
        for index in np.random.default_rng(1).permutation(len(runs)):
            receiver, load, number = run = runs[index]
            seconds.setdefault(run, []).append(measure(receiver, Path(place) / load, number, folder))
    print(f"\n{folder}: ", end="")
    report(seconds, repeats)


def report(seconds: dict[Run, list[float]], repeats: int) -> None:
    """Median rates, spread, and the ratio of the medians."""
    print(f"median of {repeats} (slowest - fastest), {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'objects':8} {'assoc':>5} {'receiver':9} {'inst/s':>8} {'MB/s':>7}  {'MB/s range':15} to storescp")
    for load, (size, count) in LOADS.items():
        for number in ASSOCIATIONS:
            for receiver in RECEIVERS:
                times = seconds.get((receiver, load, number))
                if times is None:
                    continue
                median = statistics.median(times)
                megabytes = size * count / 1e6
                peer = seconds.get(("storescp", load, number))
                ratio = f"{statistics.median(peer) / median:.2f}" if peer else "-"
                spread = f"{megabytes / max(times):.0f} - {megabytes / min(times):.0f}"
                rates = f"{count / median:8.0f} {megabytes / median:7.0f}"
                print(f"{load:8} {number:5} {receiver:9} {rates}  {spread:15} {ratio}")


def _usable() -> bool:
    if not isolated():
        print("storescp left out: it listens on every interface and there is no network namespace")
        return False
    if shutil.which("storescp", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin") is None:
        print("storescp left out: dcmtk is not installed (apt install dcmtk)")
        return False
    return True


if __name__ == "__main__":
    if isolated() or os.environ.get("DENTGATE_NO_NAMESPACE"):  # noqa: TID251 - set by this line's own second half
        main()
    else:
        arguments = [sys.executable, "-m", "tests.benchmarks.ingest", *sys.argv[1:]]
        environment = dict(os.environ, DENTGATE_NO_NAMESPACE="1")  # noqa: TID251 - handed on to ourselves
        os.execve(ROOT / "tests" / "isolated.sh", ["isolated.sh", *arguments], environment)  # noqa: S606 - a fixed script
