# The gate: root of the outer user namespace, in a network namespace between slirp4netns and the engine.
set -eu
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
# What is inside may take away its own view of the system, and then sees this one and not the machine's.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
# Where memory ends, a build ends before the builder does.
echo 500 >/proc/self/oom_score_adj
ip link set lo up
until ip link show tap0 2>/dev/null | grep -q UP; do sleep 0.01; done
echo 1 >/proc/sys/net/ipv4/ip_forward
# One kernel's table of processes is shared by all: a fork bomb ends here.
prlimit --nproc=8192 --pid $$
mkfifo -m 666 /run/engine
unshare --user --keep-caps --mount --net --pid --ipc --uts --fork --kill-child=KILL \
    sh -c 'read -r _ </run/engine; exec setpriv --reuid 0 --regid 0 --clear-groups sh -c "$SLIPWAY_ENGINE"' &
engine=$!
exec 4>&-
until [ "$(readlink "/proc/$engine/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
echo "0 0 65536" >"/proc/$engine/uid_map"
echo "0 0 65536" >"/proc/$engine/gid_map"
ip link add up0 type veth peer name eth0 netns "$engine"
ip addr add 198.18.0.1/30 dev up0
ip link set up0 up
iptables --wait -P INPUT DROP
iptables --wait -P FORWARD DROP
iptables --wait -A INPUT -i lo -j ACCEPT
iptables --wait -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables --wait -A INPUT -i up0 -j REJECT
iptables --wait -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
for protocol in udp tcp; do iptables --wait -A FORWARD -i up0 -p "$protocol" -d 10.0.2.3 --dport 53 -j ACCEPT; done
# The machine itself stays closed, whatever network it stands in.
for own in $SLIPWAY_OWN; do iptables --wait -A FORWARD -i up0 -d "$own" -j REJECT; done
for allowed in $SLIPWAY_ALLOWED; do iptables --wait -A FORWARD -i up0 -d "$allowed" -j ACCEPT; done
for refused in $SLIPWAY_REFUSED; do iptables --wait -A FORWARD -i up0 -d "$refused" -j REJECT; done
iptables --wait -A FORWARD -i up0 -o tap0 -j ACCEPT
iptables --wait -t nat -A POSTROUTING -o tap0 -j MASQUERADE
echo go >/run/engine
wait "$engine"
