# A program beside the engine: a root of its own with the one source in it, the engine's network and user namespace, and a process namespace
# of which this shell is process 1, so nothing that the program started outlives it. Its input is a pipe that the builder holds open: the
# end of the builder is its end. $1 is the folder, then come program and arguments.
exec 3<&0 </dev/null 9<"$SLIPWAY_USER"
for group in $SLIPWAY_GROUPS; do { echo 0 >"$group/cgroup.procs"; } 2>/dev/null || :; done
small_root
for part in api "seats/$SLIPWAY_NAME"; do
    mkdir -p "$root/$part"
    mount --bind "$SLIPWAY_HOME/$part" "$root/$part"
done
mount -o remount,bind,ro "$root/api"
ln -s /api/sock "$root/run/docker.sock"
echo 500 >/proc/self/oom_score_adj
mkdir "$root/run/build"
mount --bind "$SLIPWAY_PRIVATE" "$root/run/build"
mount -o remount,bind,ro "$root/run/build"
enter_root
cd "$1"
shift
unset SLIPWAY_USER SLIPWAY_GROUPS SLIPWAY_NAME SLIPWAY_NAMES SLIPWAY_HOME SLIPWAY_PRIVATE root
trap 'exit 143' TERM
# A session of its own: the terminal of whoever started the builder is out of reach.
setsid nsenter --user=/proc/self/fd/9 -- sh -c '. /run/build/environment; exec "$@" 9<&-' sh "$@" 3<&- &
program=$!
{ read -r _ <&3 || kill -TERM 1; } >/dev/null 2>&1 &
exec 3<&- 9<&-
wait "$program"
