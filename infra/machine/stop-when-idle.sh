#!/bin/sh
# Shut this machine down once nothing has needed it for some minutes. Runs as root on every machine of `ray up`, outside the container.
#
#   stop-when-idle.sh MINUTES
#
# Ray removes idle workers but never its head, and nobody removes workers whose head is lost: both would be paid for until somebody
# looks. A head is needed while a job runs on it, a worker while its raylet runs. Attached shells do not count.
set -u
minutes=$1

needed() {
    if pgrep -x gcs_server >/dev/null; then
        pgrep -f '/anon-batch |^ray::.*JobSupervisor' >/dev/null
    else
        pgrep -x raylet >/dev/null
    fi
}

idle=0
while [ "$idle" -lt "$minutes" ]; do
    sleep 60
    if needed; then idle=0; else idle=$((idle + 1)); fi
done
echo "nothing has needed this machine for $minutes minutes: shutting it down"
shutdown -h now
