#!/bin/sh
# Three workers drain a queue through the command `khala` alone: sh workers.sh [STORE]
set -eu
export KHALA_STORE="${1:-workers.khala}" KHALA_LOCK_WAIT=1m

worker() { # NAME: takes tasks until there are none
    while :; do
        turn=$(khala claim --agent "$1" --role calculator) || { [ $? -eq 3 ] && return; exit 1; }
        { read -r task claim _; read -r _ number; } <<EOF
$turn
EOF
        khala complete "$task" "$claim" --say "$number squared is $((number * number))"
    done
}

khala init >&2
thread=$(khala thread new squares --initiator workers.sh)
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
    khala task add "$thread" --role calculator "square $number" >&2
done
for name in ada bob eve; do worker "$name" & workers="${workers:-} $!"; done
for pid in $workers; do wait "$pid"; done
khala finish "$thread" completed >&2
khala thread "$thread"
