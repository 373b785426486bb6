# An engine of its own for one trust scope. This shell is process 1 of a process namespace, and its input is a pipe that the builder holds
# open: whatever ends the builder closes it, this shell ends, and the kernel ends everything below.
#
# machine's root, in the machine's network: this shell and slirp4netns, which carries packets out as ordinary connections
#   the gate: user and network namespace with the rules for what may be reached, which nothing inside can change
#     the engine: user and network namespace of dockerd; its root is an ordinary user of the machine
# Its output is the listening socket of the engine, which the builder made where nothing inside can put another one in its place.
exec 3<&0 </dev/null 4>&1 >/dev/null
# The bounds of this engine, for everything that begins below. 0 is whoever writes.
for group in $SLIPWAY_GROUPS; do echo 0 >"$group/cgroup.procs" || echo "$group does not bound this engine" >&2; done
small_root
cp -L /etc/resolv.conf "$root/etc/resolv.outside" 2>/dev/null || touch "$root/etc/resolv.outside"
mount --bind "$SLIPWAY_HOME/data" "$root/var/lib/docker"
mkdir "$root/api"
mount --bind "$SLIPWAY_HOME/api" "$root/api"
mount -o remount,bind,ro "$root/api"
mount --bind "$SLIPWAY_HOME/seats" "$root/seats"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
# Containers cannot be made where no control groups are seen; nothing inside may write to the machine's.
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
enter_root
mount --bind /etc/resolv.outside /etc/resolv.conf

# Its identities are mapped from out here before it begins.
mkfifo -m 666 /run/gate
# A session of its own: the terminal of whoever started the builder is out of reach.
setsid unshare --user --keep-caps --mount --net --pid --ipc --uts --fork --kill-child=KILL \
    sh -c 'read -r _ </run/gate; exec setpriv --reuid 0 --regid 0 --clear-groups sh -c "$SLIPWAY_GATE"' 3<&- &
gate=$!
exec 4>&-
until [ "$(readlink "/proc/$gate/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
echo "0 $SLIPWAY_BASE 65536" >"/proc/$gate/uid_map"
echo "0 $SLIPWAY_BASE 65536" >"/proc/$gate/gid_map"
slirp4netns --configure --mtu=65520 --disable-host-loopback --enable-sandbox --enable-seccomp "$gate" tap0 3<&- &
echo go >/run/gate
# Nothing is ever written to the pipe: its end is what is waited for, or the engine's own.
trap 'exit 143' TERM
{ read -r _ <&3 || kill -TERM 1; } &
exec 3<&-
wait "$gate"
