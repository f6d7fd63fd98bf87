#!/bin/sh
# The design this project started from, as it was described: a process group of its own, `ps -o rss= -g` every three
# seconds, `kill -TERM -PGID` above the threshold. Written for the bench, with no more and no less than that design.
#
#   guide.sh [-t MB] [-i SECONDS] [-l LOG] command [args...]
threshold=800
interval=3
log=
while getopts t:i:l: option; do
    case $option in
        t) threshold=$OPTARG ;;
        i) interval=$OPTARG ;;
        l) log=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

snapshot() {
    ps -o pid=,rss=,args= -g "$group" | awk -v time="$(date -u +%Y-%m-%dT%H:%M:%SZ)" -v group="$group" \
        -v memory="$memory" -v threshold="$threshold" '{
            pid = $1; size = int($2 / 1024); $1 = $2 = ""; sub(/^ */, ""); gsub(/["\\]/, "\\\\&")
            list = list (NR > 1 ? ", " : "") "{\"pid\": " pid ", \"command\": \"" $0 "\", \"memoryMB\": " size "}"
        } END {
            printf "{\"timestamp\": \"%s\", \"pgid\": %d, \"memoryMB\": %d, \"processCount\": %d, ", time, group, memory, NR
            printf "\"processes\": [%s], \"thresholdMB\": %d}\n", list, threshold
        }' >>"$log"
}

monitor() {
    while kill -0 "$group" 2>/dev/null; do
        memory=$(ps -o rss= -g "$group" | awk '{sum+=$1} END {print int(sum/1024)}')
        [ -z "$log" ] || snapshot
        if [ "$memory" -gt "$threshold" ]; then
            echo "guide: $memory MB of $threshold MB, killing" >&2
            kill -TERM "-$group"
            return
        fi
        sleep "$interval"
    done
}

setsid "$@" &
group=$!
monitor &
monitor=$!
wait "$group"
status=$?
kill "$monitor" 2>/dev/null
exit "$status"
