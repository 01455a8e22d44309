"""``make bench``: seconds of each stage; OpenVINO beside torch, results beside highdicom, ingest beside storescp."""

from tests.benchmarks import engines, ingest, stages, writers

stages.main()
print()
engines.main()
print()
writers.main()
print()
ingest.main()
