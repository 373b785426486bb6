# The engine: root of the inner user namespace, with a network whose only way out is the gate.
set -eu
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
printf 'nameserver 10.0.2.3\n' >/run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
ip link set lo up
for address in $SLIPWAY_ADDRESSES; do ip addr add "$address/32" dev lo; done
ip addr add 198.18.0.2/30 dev eth0
ip link set eth0 up
ip route add default via 198.18.0.1
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir /run/docker
printf '%s' "$SLIPWAY_DOCKERD" >/run/daemon.json
ln -s /api/sock /run/docker.sock
# The listening socket comes as systemd would hand it over.
exec 3<&4 4<&-
export LISTEN_FDS=1 LISTEN_PID=$$
# Published ports are this network's own. What `--rootless` would take for them speaks with a RootlessKit, which is not here.
proxy="$(command -v docker-proxy)" && proxy="--userland-proxy-path=$proxy" || proxy=--userland-proxy=false
exec dockerd --rootless "$proxy" --log-level warn --config-file /run/daemon.json --data-root /var/lib/docker --exec-root /run/docker \
    --pidfile /run/docker.pid --host fd://
