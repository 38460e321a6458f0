#!/bin/sh
# Train the encoder of surroundings, build the donor bank with it, and train the generator with that bank:
#
#   sh jobs/training/everything.sh FACES OUTPUT [ARGUMENTS OF anon-batch train]
#
# FACES holds sfhq_t2i, sdfd and sfhq_sg2, each with crops/ and meta.jsonl. MINUTES (30) is the encoder's training time on the
# CPU, DONORS the table of donors (jobs/training/donors.tsv), LABELS that of labelled training faces (FACES/sfhq_t2i/labels.tsv if
# it is there, else DONORS), PYTHON the interpreter. Run it at the root of the repository. The same command goes on where it was
# stopped.
set -eu
faces=$1 output=$2
shift 2
python=${PYTHON:-python} donors=${DONORS:-jobs/training/donors.tsv}
labels=${LABELS:-$faces/sfhq_t2i/labels.tsv}
[ -f "$labels" ] || labels=$donors
mkdir -p "$output"
"$python" -m tools.surroundings_encoder "$faces/sfhq_t2i" "$faces/sdfd" "$faces/sfhq_sg2" \
    --labels "$labels" --output "$output/encoder.safetensors" --work "$output/encoder" --minutes "${MINUTES:-30}"
"$python" -m tools.donor_bank "$faces/sfhq_t2i" "$donors" \
    --encoder "$output/encoder.safetensors" --output "$output/donors.safetensors"
exec "$python" -m anon_batch train jobs/training/generator.yaml \
    --set "faces=[$faces/sfhq_t2i, $faces/sdfd, $faces/sfhq_sg2]" \
    --set "donors=$output/donors.safetensors" --set "output=$output/generator" "$@"
