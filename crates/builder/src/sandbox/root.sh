# A small root, made of this machine's programs and of nothing else that it has. Sourced by `engine.sh` and `inside.sh`, as the machine's
# root in a mount namespace of their own; `$root` is an empty folder.
set -eu
small_root() {
    mount --make-rprivate /
    mount -t tmpfs -o mode=755,size=64m tmpfs "$root"
    for part in usr bin sbin lib lib32 lib64 libx32; do
        if [ -L "/$part" ]; then
            cp -P "/$part" "$root/$part"
        elif [ -d "/$part" ]; then
            mkdir "$root/$part"
            mount --bind "/$part" "$root/$part"
            mount -o remount,bind,ro "$root/$part"
        fi
    done
    mkdir -p "$root"/etc "$root"/dev/pts "$root"/dev/shm "$root"/dev/net "$root"/proc "$root"/sys "$root"/run "$root"/tmp "$root"/root \
        "$root"/home "$root"/seats "$root"/var/lib/docker "$root"/opt "$root"/var/tmp "$root"/old
    # Git, docker and compose read no more of /etc than this.
    for part in alternatives ca-certificates ld.so.conf.d pki ssl; do
        if [ -d "/etc/$part" ]; then
            mkdir "$root/etc/$part"
            mount --bind "/etc/$part" "$root/etc/$part"
            mount -o remount,bind,ro "$root/etc/$part"
        fi
    done
    for part in ld.so.cache ld.so.conf localtime protocols services; do
        if [ -f "/etc/$part" ]; then cp -L "/etc/$part" "$root/etc/$part"; fi
    done
    ln -s ../run "$root/var/run"
    printf 'root:x:0:0:root:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost%s\n' "$SLIPWAY_NAMES" >"$root/etc/hosts"
    printf 'nameserver 10.0.2.3\n' >"$root/etc/resolv.conf"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    # Containers cannot be made without a `tty`; whose it would be says the session, and each has its own.
    for device in null zero full random urandom tty net/tun; do
        if [ -e "/dev/$device" ]; then
            touch "$root/dev/$device"
            mount --bind "/dev/$device" "$root/dev/$device"
        fi
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs -o nosuid,nodev,size=64m tmpfs "$root/dev/shm"
    for link in 'fd fd' 'stdin fd/0' 'stdout fd/1' 'stderr fd/2'; do
        ln -s "/proc/self/${link#* }" "$root/dev/${link% *}"
    done
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t tmpfs -o mode=1777,nosuid,nodev,size=1g tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755,nosuid,nodev,size=64m tmpfs "$root/run"
}
# Everything but the small root is out of reach after this.
enter_root() {
    cd "$root"
    pivot_root . old
    umount -l /old
    rmdir /old
    unset OLDPWD
}
