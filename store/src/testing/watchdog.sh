# Stops the shared PostgreSQL of the tests when no test has used it for a while, and removes it.
# Arguments: its directory, idle seconds until it is stopped, seconds until it is stopped anyway.
# Every test process has a file in users/ that is named by its process id.
trap '' HUP INT
dir=$1 idle=$2 limit=$3
case $dir in */nexplane-test-*/g*) ;; *) exit 1 ;; esac

# Whether a process named in the folder $1 lives; forgets the others.
used() {
    found=1
    for user in "$1"/*; do
        [ -e "$user" ] || continue
        if kill -0 "${user##*/}" 2>/dev/null; then found=0; else rm -f "$user"; fi
    done
    return $found
}

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

pid=$(head -n 1 "$dir/cluster/data/postmaster.pid" 2>/dev/null)
# A process id may have been given to somebody else after a crash.
if [ -e "/proc/$pid/cmdline" ]; then
    tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$dir/cluster/data" || pid=
fi
if [ -n "$pid" ]; then
    for signal in INT QUIT KILL; do
        kill -s "$signal" "$pid" 2>/dev/null
        waited=0
        while kill -0 "$pid" 2>/dev/null && [ "$waited" -lt 10 ]; do
            sleep 1
            waited=$((waited + 1))
        done
    done
fi
rm -rf "$dir"
