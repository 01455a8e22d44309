"""Send objects as fast as Python can: files mapped, PDUs gathered, one outstanding C-STORE for each association."""

import json
import mmap
import sys
import threading
import time
from pathlib import Path

from tests.unit.listener.raw_scu import DX, EXPLICIT, RawScu


def main(port: int, associations: int, folder: Path) -> None:
    """Send every ``*.raw`` of the folder (a data set named by its SOP Instance UID); print seconds and failures."""
    objects = []
    for path in sorted(folder.glob("*.raw")):
        with path.open("rb") as file:
            objects.append((path.stem, memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))))
    bad: list[str] = []

    def send(share: list[tuple[str, memoryview]]) -> None:
        with RawScu(port, [(DX, [EXPLICIT])]) as scu:
            bad.extend(uid for uid, data in share if scu.store(data, uid).status)
            scu.release()

    threads = [threading.Thread(target=send, args=(objects[i::associations],)) for i in range(associations)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"seconds": time.perf_counter() - began, "failed": len(bad), "objects": len(objects)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
