# Stops a server that tests share when no test has used it for a while, and removes its folder.
# Arguments: its folder, idle seconds until it is stopped, seconds until it is stopped anyway.
# Every test process has a file in users/ that is named by its process id; pids has those of the server,
# each with the time at which it was started, because an id may be given to somebody else.
trap '' HUP INT
dir=$1 idle=$2 limit=$3
case $dir in */nexplane-peers-*/*-g*) ;; *) exit 1 ;; esac

used() {
    found=1
    for user in "$1"/*; do
        [ -e "$user" ] || continue
        if kill -0 "${user##*/}" 2>/dev/null; then found=0; else rm -f "$user"; fi
    done
    return $found
}

started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

passed=0 quiet=0
while [ "$passed" -lt "$limit" ]; do
    sleep 5
    passed=$((passed + 5)) quiet=$((quiet + 5))
    [ -d "$dir" ] || exit 0
    if used "$dir/users"; then quiet=0; fi
    [ "$quiet" -ge "$idle" ] || continue
    # Nobody can enter any more; whoever entered since we looked keeps it open.
    mv "$dir/users" "$dir/closed" || break
    used "$dir/closed" || break
    mv "$dir/closed" "$dir/users"
    quiet=0
done

while read -r pid since; do
    for signal in TERM KILL; do
        [ "$(started "$pid")" = "$since" ] || break
        kill -s "$signal" "$pid" 2>/dev/null
        waited=0
        while [ "$(started "$pid")" = "$since" ] && [ "$waited" -lt 10 ]; do
            sleep 1
            waited=$((waited + 1))
        done
    done
done <"$dir/pids"
rm -rf "$dir"
