#!/bin/sh
# Run the demo job on the sample photographs: manifest, run, verify. $1 is the anon-batch command.
set -eu
anon_batch=$1
mkdir -p demo

echo "== 1. list the photographs"
"$anon_batch" manifest manifests/sample/photos -o demo/manifest.parquet --ground-truth manifests/sample/faces.json

echo "== 2. anonymize them (job file: jobs/demo.yaml)"
"$anon_batch" run jobs/demo.yaml

echo "== 3. check the release"
"$anon_batch" verify demo/release

cat <<END

Look at
  demo/release/images/       the anonymized photographs (originals: manifests/sample/photos/)
  demo/release/provenance/   what was done to each (Parquet)
  demo/release/stats.json    statuses, faces, precision and recall on the ground truth of the sample
  demo/release/gates.json    limits for withheld and failed rows, and whether they were kept
  demo/release-ledger/       private: detections, source digests, the run key
Run the same command again: the run resumes, and nothing is done twice.
END
