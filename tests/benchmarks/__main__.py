"""``make bench``: stages, whole worker beside bare passes, OpenVINO beside torch, results beside highdicom, ingest."""

from tests.benchmarks import engines, ingest, stages, worker, writers

stages.main()
print()
worker.main()
print()
engines.main()
print()
writers.main()
print()
ingest.main()
