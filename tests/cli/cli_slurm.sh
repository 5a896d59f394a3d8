#!/usr/bin/env bash
# The batch scripts with stand-ins for the launcher, the program and scontrol: what is started with which arguments, that
# SIGUSR1 arrives, and that exit code 3 and only that requeues.
. tests/cli/harness.sh

mkdir "$work/bin"
export PATH="$work/bin:$PATH" SAID=$work/said SLURM_JOB_ID=77 SLURM_CPUS_PER_TASK=3
script() { # name, body
    printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}
script mpirun 'echo "mpirun $*" >>"$SAID"; shift 2; exec "$@"'
script srun 'echo "srun $*" >>"$SAID"; shift 2; exec "$@"'
script scontrol 'echo "scontrol $*" >>"$SAID"'
# Waits for SIGUSR1 when asked to, as a run that has long to go.
script program 'echo "program $*" >>"$SAID"
[[ "$*" != *wait* ]] || { trap "exit 3" USR1; touch "$SAID.up"; for i in {1..200}; do sleep 0.05; done; exit 9; }
exit "${PROGRAM_EXIT:-0}"'
export RANKWISE=program DATA_TOOL=program

CONFIG='a.cfg b.cfg' OVERRIDES='x.y=1 u.v=2' expect train-starts 0 '' bash slurm/train.sbatch
check train-arguments grep -qx 'program train a.cfg b.cfg run.threads=3 x.y=1 u.v=2' "$SAID"
check train-binds-threads grep -q 'mpirun --map-by slot:PE=3' "$SAID"
CONFIG=a.cfg LAUNCH=srun expect train-by-srun 0 '' bash slurm/train.sbatch
check srun-binds-threads grep -q 'srun --mpi=pmix --cpus-per-task=3' "$SAID"
CONFIG=a.cfg LAUNCH=rsh expect train-other-launcher 2 'expected mpirun or srun' bash slurm/train.sbatch
expect train-needs-config 1 'set CONFIG' bash slurm/train.sbatch
CONFIG=a.cfg PROGRAM_EXIT=1 expect train-failure-is-told 1 '' bash slurm/train.sbatch
check failure-is-not-requeued bash -c "! grep -q scontrol '$SAID'"

CONFIG="wait" bash slurm/train.sbatch >"$work/log" 2>&1 &
batch=$!
for _ in {1..100}; do [[ -e $SAID.up ]] || sleep 0.05; done
kill -USR1 "$batch"
wait "$batch"
code=$?
check signal-arrives grep -q 'asking for a checkpoint' "$work/log"
check stopped-job-is-requeued grep -qx 'scontrol requeue 77' "$SAID"
check requeue-ends-well test "$code" = 0

MODEL=m DATA=d.h5 OUT=$work/o expect eval-starts 0 '' bash slurm/eval.sbatch
check eval-arguments grep -qx "program eval m --data d.h5 --scores $work/o.jsonl --json run.threads=3" "$SAID"
MODEL=m DATA=d.h5 OUT=$work/o PROGRAM_EXIT=1 expect eval-failure-is-told 1 '' bash slurm/eval.sbatch
RUN=r DATA=d.h5 OUT=$work/j CHECKPOINTS='base 1000' OPTIONS='--samples 2' SLURM_ARRAY_TASK_ID=1 expect judge-starts 0 '' bash slurm/judge.sbatch
check judge-arguments grep -qx "program judge r --data d.h5 --sweep $work/j --checkpoints 1000 --seeds 0,1 --samples 2 run.threads=3" "$SAID"
RUN=r DATA=d.h5 CHECKPOINTS=base SLURM_ARRAY_TASK_ID=1 expect judge-array-too-long 2 'task 1 of the array' bash slurm/judge.sbatch
TOKENIZER=t FILES='p/a.jsonl.gz p/b.jsonl' OUT=$work/s SLURM_ARRAY_TASK_ID=1 expect shards-start 0 '' bash slurm/build_shards.sbatch
check shards-arguments grep -qx "program build --tokenizer t --template text --max-length 1024 --out $work/s/b.h5 p/b.jsonl" "$SAID"
TOKENIZER=t FILES=a SLURM_ARRAY_TASK_ID=1 expect shards-array-too-long 2 'task 1 of the array' bash slurm/build_shards.sbatch
finish
