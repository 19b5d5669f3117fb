#!/usr/bin/env bash
# Train a recipe on a cluster: the encoders, then the banks in parts, then the policy. Each job waits for the one before.
#
#     docs/slurm/submit.sh RECIPE RUN [PARTS]
#
# Set partitions, accounts and the environment of your cluster in the two job scripts, or on their `sbatch` lines here.
# A job that ends early can be submitted again: each continues where it stopped.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 RECIPE RUN [PARTS]" >&2
    exit 2
fi
recipe=$1 run=$2 parts=${3:-16}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

encoders=$(sbatch --parsable "$here/train.sbatch" "$recipe" "$run" 0 1)
banks=$(sbatch --parsable --dependency="afterok:$encoders" --array="1-$parts" "$here/bank.sbatch" "$run")
policy=$(sbatch --parsable --dependency="afterok:$banks" "$here/train.sbatch" "$recipe" "$run" 0 1 2 3)
echo "submitted: encoders $encoders, banks $banks (parts 1 to $parts), policy $policy"
