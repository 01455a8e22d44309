"""``make bench``: seconds of each stage for one panoramic, then the ingest rate beside dcmtk's storescp."""

from tests.benchmarks import ingest, stages

stages.main()
print()
ingest.main()
