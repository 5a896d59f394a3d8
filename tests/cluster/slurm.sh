#!/usr/bin/env bash
# slurm/train.sbatch under a real Slurm of one node, started here for the test: a run is stopped by SIGUSR1, goes back to
# the queue, starts again and ends; each step of its metrics stands once. Needs the package slurm-wlm and root; munge is
# not used.
# tier: long
# limit: 600
. tests/cli/harness.sh

for program in slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { echo "skipped slurm: $program is not installed"; exit 0; }
done
[[ $(id -u) == 0 ]] || { echo "skipped slurm: slurmd needs root"; exit 0; }

host=$(hostname -s)
export SLURM_CONF=$work/slurm.conf
mkdir "$work/state" "$work/spool"
cat >"$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort=$((20000 + $$ % 20000))
SlurmdPort=$((40000 + $$ % 20000))
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
EOF
slurmctld -D >/dev/null 2>&1 &
daemons=($!)
slurmd -D >/dev/null 2>&1 &
daemons+=($!)
trap 'scancel --user=root 2>/dev/null; kill "${daemons[@]}" 2>/dev/null; wait; rm -rf "$work"' EXIT

# seconds, command: until it succeeds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.5
    done
}
node_is_idle() { [[ $(sinfo -h -o %t) == idle ]]; }
until_true 60 node_is_idle || { not_ok slurm-starts "$(tail -n 3 "$work"/slurm*d.log | tr '\n' ' ')"; finish; }
ok slurm-starts

"$data" demo --out "$work/demo" >/dev/null 2>&1 || { not_ok slurm-data "rankwise-data demo failed"; finish; }
export RANKWISE=$rankwise CONFIG=configs/demo.cfg
export OVERRIDES="run.dir=$work/run model.path=$work/demo/model data.train=$work/demo/train.h5 \
    data.eval=$work/demo/held_out.h5 run.log_every=1 optim.steps=400"
job=$(sbatch --parsable --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --time=10 --output="$work/job.log" slurm/train.sbatch)
n_steps() { [[ -e $work/run/metrics.jsonl ]] && (($(wc -l <"$work/run/metrics.jsonl") >= $1)); }
until_true 120 n_steps 20 || { not_ok slurm-trains "$(tail -n 5 "$work/job.log" | tr '\n' ' ')"; finish; }
ok slurm-trains
scancel --batch --signal=USR1 "$job"
state_is() { [[ $(squeue -h -j "$job" -o %t) == "$1" ]]; }
if until_true 90 state_is PD; then ok slurm-requeues; else not_ok slurm-requeues "$(tail -n 5 "$work/job.log" | tr '\n' ' ')"; fi
check slurm-was-stopped-midway test "$(wc -l <"$work/run/metrics.jsonl")" -lt 400
scontrol update JobId="$job" StartTime=now
job_is_over() { [[ -z $(squeue -h -j "$job" -o %t) || $(squeue -h -j "$job" -o %t) == CD ]]; }
until_true 300 job_is_over || not_ok slurm-ends "$(tail -n 5 "$work/job.log" | tr '\n' ' ')"
steps=$(sed -n 's/.*"step": *\([0-9]*\).*/\1/p' "$work/run/metrics.jsonl" | sort -n | uniq | wc -l)
# Step 0 is the evaluation before training.
check slurm-each-step-once test "$steps" = 401 -a "$(wc -l <"$work/run/metrics.jsonl")" = 401
finish
