# Finding, and when needed starting, a Docker Engine; source it after lib.sh.

# The client that the engine's own package brought: an earlier one on PATH may lack what we need.
docker_client() {
    if [ -n "${SLIPWAY_DOCKER:-}" ]; then
        printf '%s\n' "$SLIPWAY_DOCKER"
    elif [ -x /usr/bin/docker ]; then
        printf '/usr/bin/docker\n'
    else
        command -v docker
    fi
}

engine_answers() {
    local client
    client="$(docker_client)" && [ -n "$("$client" version --format '{{.Server.Version}}' 2>/dev/null)" ]
}

# Debian keeps it in sbin, which an ordinary person's PATH does not have.
dockerd_program() { command -v dockerd || ls /usr/sbin/dockerd; }

# A busybox that runs in an image which holds nothing else.
static_busybox() {
    local path
    path="$(command -v busybox)" && ! ldd "$path"
}

compose() { command -v docker-compose || "$(docker_client)" compose version; }

ip_program() { command -v ip || ls /usr/sbin/ip /sbin/ip 2>/dev/null | grep -q .; }

iptables_program() { command -v iptables || ls /usr/sbin/iptables /sbin/iptables 2>/dev/null | grep -q .; }

want_docker() {
    want git "checks out sources" have git
    if ! engine_answers; then
        want docker.io "Docker Engine: builds and runs images" dockerd_program
    fi
    want docker-compose "runs docker-compose.test.yml" compose
    want slirp4netns "carries packets of engines that serve hooks and tests" have slirp4netns
    want iproute2 "sets up the network of such engines" ip_program
    want iptables "keeps such engines away from this machine" iptables_program
    want busybox-static "the demo's base image" static_busybox
}

# Starts an engine when none answers. Only root can; its log stays behind for reading.
start_engine() {
    if engine_answers; then
        say "docker: an engine answers ($("$(docker_client)" version --format '{{.Server.Version}}'))"
        return
    fi
    if ! is_root; then
        stop "no Docker Engine answers, and only root can start one; nothing was changed" \
            "start it as root (\`systemctl start docker\` or \`dockerd\`), and be a member of the group \`docker\`"
    fi
    local log=/var/log/slipway-dockerd.log started=$SECONDS
    if [ -d /run/systemd/system ]; then
        say "docker: no engine answers, starting the service"
        systemctl start docker
        log="journalctl -u docker"
    else
        say "docker: no engine answers, starting dockerd (log: $log)"
        # A service manager is missing, so a dead engine's pid file may have stayed behind.
        if [ -f /var/run/docker.pid ] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then
            rm -f /var/run/docker.pid
        fi
        setsid --fork nohup dockerd >"$log" 2>&1 </dev/null
    fi
    while ! engine_answers; do
        if [ $((SECONDS - started)) -ge 60 ]; then
            [ -f "$log" ] && tail -n 20 "$log" >&2
            stop "the Docker Engine did not answer within 60 s" "read $log"
        fi
        sleep 0.2
    done
    say "docker: the engine answers after $((SECONDS - started)) s"
}
