//! The hostile pack: sources that try to get out, to take the node down, or to read what is not theirs. Each ends with its reason, the builder
//! goes on, and afterwards nothing of them is left on the node: no container, process, mount, network or folder.
//!
//! Where each part of the pack is shown (rows are those of the list of things that went wrong elsewhere):
//! - fork bomb, a full disk, long output, `mount`, `setns`, namespaces, secrets and caches by guessed names, `ADD` of tars and addresses, privileges
//!   in Dockerfiles: here.
//! - the metadata address, the machine's loopback, addresses and files, `/proc/1/root`, devices, the engine's socket: `hooks`,
//!   `a_hook_reaches_neither_the_machine_nor_its_network`. Caches between tenants (row 28): `hooks`, `scopes_share_nothing_and_...`.
//! - references, addresses and paths that git would read as options or programs (row 20): `builds`, `odd_refs_and_tags_...`; `src/access.rs`,
//!   `src/git.rs`. Submodules (21): `src/submodules_tests.rs`. Git LFS elsewhere: `src/lfs_tests.rs`. No Rust library of git, no tar is unpacked
//!   by us (22, 23).
//! - Dockerfile, context, `.dockerignore`, test files and hooks as links, `..`, absolute, too long (24): `src/plan.rs`, `src/hooks.rs`,
//!   `src/compose_rules_tests.rs`, `model` (`RulePath`), and here. Frontends (25): `builds`, `failures_have_reasons_of_their_own_...`. Only
//!   BuildKit is spoken (26): `slipway-buildkit`.
//! - privileges, mounts, `pid` and `network` of the host in test files (27): `src/compose_rules_tests.rs`.
//! - secrets in images and output (29, 30): `leaks`, `src/mask.rs`, and the canaries of the whole application. Pull requests of strangers (31):
//!   `hooks` and the whole application's `pull_requests`. What a log may do to a page (32): the browser's tests. Builders that pretend (33): the
//!   whole application's `queue` and `crash`.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{BASE, ENGINE, SECRET, World, git, log, unique, wait_for};
use slipway_builder::EngineBounds;
use slipway_model::FailureCode;
use slipway_testkit::buildkitd::{Buildkitd, Listen};
use slipway_wire::{Assignment, Outcome};

/// How a case has to end.
enum End {
    /// With an image, and these words in the log.
    Built(&'static str),
    /// As it will: what counts is what it did not see.
    Anyhow,
    /// With this reason.
    Fails(FailureCode, &'static str),
}

struct Case {
    name: &'static str,
    dockerfile: String,
    files: Vec<(&'static str, String)>,
    end: End,
}

fn case(name: &'static str, dockerfile: &str, files: Vec<(&'static str, String)>, end: End) -> Case {
    Case { name, dockerfile: dockerfile.to_owned(), files, end }
}

/// A tar with a file of this name in it and a link of that name to a folder of the machine.
fn evil_tar(name: &str, link: &str, target: &str) -> String {
    let mut out = Vec::new();
    for (name, kind, target, content) in [(link, b'2', target, ""), (name, b'0', "", "evil\n")] {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000777");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    String::from_utf8(out).expect("a tar of plain names is a text")
}

/// A server of the machine that counts who came.
async fn listener() -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, came)
}

/// In any engine: what a step of a Dockerfile may not do.
fn of_steps(canary: &Path) -> Vec<Case> {
    let canary = canary.display();
    let refused = |what: &str| format!("RUN if {what}; then echo \"REACHED: it went\"; exit 1; else echo refused-it; fi\n");
    vec![
        case("mount", &refused("/bin/busybox mount -t tmpfs none /mnt"), vec![], End::Built("refused-it")),
        case("unshare", &refused("/bin/busybox unshare -m -n /bin/busybox true"), vec![], End::Built("refused-it")),
        case("setns", &refused("/bin/busybox nsenter -t 1 -m -n /bin/busybox cat /etc/shadow"), vec![], End::Built("refused-it")),
        case("proc-root", &refused(&format!("/bin/busybox cat /proc/1/root{canary}")), vec![], End::Built("refused-it")),
        case("device", &refused("/bin/busybox mknod /disk b 254 0 && /bin/busybox head -c 1 /disk"), vec![], End::Built("refused-it")),
        case("insecure", "RUN --security=insecure true\n", vec![], End::Fails(FailureCode::DockerfileInvalid, "")),
        case("host-network", "RUN --network=host true\n", vec![], End::Fails(FailureCode::DockerfileInvalid, "")),
        case(
            "guessed-secret",
            "RUN --mount=type=secret,id=SSH_PRIVATE,required /bin/busybox cat /run/secrets/SSH_PRIVATE\n",
            vec![],
            End::Fails(FailureCode::StepFailed, "SSH_PRIVATE"),
        ),
        case(
            "guessed-secrets",
            "RUN --mount=type=secret,id=API_KEY --mount=type=secret,id=registry --mount=type=secret,id=../environment echo \"there: $(/bin/busybox ls /run/secrets 2>/dev/null | /bin/busybox wc -l)\"\n",
            vec![],
            End::Built("there: 0"),
        ),
        case("ssh-agent", "RUN --mount=type=ssh,required true\n", vec![], End::Fails(FailureCode::StepFailed, "ssh")),
        // BuildKit keeps the beginning and says what is missing.
        case(
            "long-output",
            "RUN /bin/busybox yes a-line-of-output | /bin/busybox head -c 67108864; echo the-end\n",
            vec![],
            End::Built("output clipped"),
        ),
        case("tar-up", "ADD evil.tar /\n", vec![("evil.tar", evil_tar("../../../../tmp/evil-up", "x", "y"))], End::Anyhow),
        case(
            "tar-link",
            "ADD evil.tar /\n",
            vec![("evil.tar", evil_tar("out/evil-link", "out", "/tmp"))],
            End::Fails(FailureCode::StepFailed, "evil-link"),
        ),
        case("tar-absolute", "ADD evil.tar /\n", vec![("evil.tar", evil_tar("/tmp/evil-absolute", "x", "/etc"))], End::Anyhow),
        case("copy-link", "COPY out /out\nRUN /bin/busybox cat /out; true\n", vec![("out", format!("-> {canary}"))], End::Anyhow),
        case(
            "own-ignore-link",
            "COPY . /all\n",
            vec![("Dockerfile.dockerignore", "-> /etc/passwd".into())],
            End::Fails(FailureCode::DockerfileNotFound, "it is no file inside of the source"),
        ),
        case(
            "ignore-link",
            "COPY . /all\n",
            vec![(".dockerignore", "-> /etc/passwd".into())],
            End::Fails(FailureCode::DockerfileNotFound, "`ignore-link/.dockerignore`"),
        ),
    ]
}

/// With hooks, in an engine of their own.
fn of_hooks(port: u16) -> Vec<Case> {
    let hook = |script: &str| vec![("hooks/pre_build", format!("#!/bin/bash\n{script}\n"))];
    let bomb = "for i in $(seq 1 9000); do sleep 600 >/dev/null 2>&1 & done; echo REACHED: no end of processes";
    let far = |address: &str| format!("ADD http://{address}:{port}/x /x\n");
    let test = |command: &str| format!("sut:\n  image: $IMAGE_NAME\n  command: [\"/bin/sh\", \"-c\", \"{command}\"]\n");
    vec![
        // The table of processes ends before the machine's does, and bash gives up.
        case(
            "fork-bomb",
            "",
            vec![("hooks/pre_build", format!("#!/bin/bash\n({bomb}) 2>&1 | tail -n 1\nexit 5\n"))],
            End::Fails(FailureCode::HookFailed, "exited with 5"),
        ),
        case(
            "fork-bomb-of-a-test",
            "",
            vec![(
                "a.test.yml",
                test(
                    "i=0; while [ $$i -lt 9000 ]; do /bin/busybox sleep 600 & i=$$((i+1)); done; echo REACHED: no end of processes; exit 6",
                ),
            )],
            End::Fails(FailureCode::TestFailed, ""),
        ),
        // What is in memory has an end; on the disk only the machine's own.
        case(
            "full-tmp",
            "",
            hook("dd if=/dev/zero of=/tmp/fill bs=1M count=4096 2>&1 | grep -q 'No space' && echo filled-to-the-end; df /tmp | tail -n 1"),
            End::Built("filled-to-the-end"),
        ),
        // Eight times what is kept of a build.
        case(
            "endless-log",
            "",
            hook("yes a-line-of-a-log-without-end | head -c 1073741824; echo the-end > ended; test -s ended"),
            End::Built("the output is longer than 128 MiB, the rest is not kept"),
        ),
        case("large-file", "", hook("truncate -s 20G \"$PWD/large\" || echo too-large"), End::Built("too-large")),
        case("loopback", &far("127.0.0.1"), hook("true"), End::Fails(FailureCode::StepFailed, "")),
        case("gateway", &far("10.0.2.2"), hook("true"), End::Fails(FailureCode::StepFailed, "")),
        case("metadata", &far("169.254.169.254"), hook("true"), End::Fails(FailureCode::StepFailed, "")),
        case(
            "made-a-link",
            "",
            hook("rm Dockerfile; ln -s /etc/shadow Dockerfile"),
            End::Fails(FailureCode::DockerfileNotFound, "made-a-link/Dockerfile"),
        ),
    ]
}

/// Runs all of them, one after another, and looks at the node.
async fn run(engine: &str, cases: Vec<Case>, hidden: &[&str], change: impl Fn(&mut Assignment)) -> World {
    let number = unique();
    let mut files = Vec::new();
    for case in &cases {
        files.push((format!("{}/Dockerfile", case.name), format!("{BASE}ENV UNIQUE={number}\n{}", case.dockerfile)));
        files.push((format!("{}/busybox", case.name), git::BUSYBOX.to_owned()));
        files.extend(case.files.iter().map(|(path, content)| (format!("{}/{path}", case.name), content.clone())));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start_with(&files, engine, Duration::from_secs(60)).await;
    let mut first = world.assignment("refs/heads/main");
    change(&mut first);
    let mut wrong = Vec::new();
    for case in &cases {
        let mut assignment = Assignment { build: slipway_model::BuildId::new(), ..first.clone() };
        assignment.rule.dockerfile = format!("{}/Dockerfile", case.name).parse().expect("path");
        let build = assignment.build;
        let outcome = world.build(assignment).await;
        let text = log(&world.server.events(build));
        let end = text.get(text.len().saturating_sub(4000)..).unwrap_or(&text);
        let right = match (&case.end, &outcome) {
            (End::Anyhow, _) => true,
            (End::Built(words), Outcome::Pushed { .. }) => text.contains(words),
            (End::Fails(code, words), Outcome::Failed { reason, .. }) => reason.code == *code && reason.text.contains(words),
            _ => false,
        };
        if !right {
            wrong.push(format!("{}: {outcome:?}\n{end}", case.name));
        }
        assert!(!text.contains("REACHED"), "{}: {end}", case.name);
        for word in hidden {
            assert!(!text.contains(word), "{}: {word} is shown", case.name);
        }
        wait_for("the clean-up", Duration::from_secs(30), || world.build_folders() == 0).await;
        if assignment_has_engine(&world, &first) {
            for args in [["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"]] {
                assert_eq!(world.own_docker(&first, &args), "", "{}: {args:?}", case.name);
            }
            assert_eq!(world.own_docker(&first, &["network", "ls", "--filter", "type=custom", "--quiet"]), "", "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let host = world.registry.host.clone();
    assert!(!common::docker(&["images", "--all"]).contains(&host) && !common::docker(&["ps", "--all"]).contains(&host));
    world
}

fn assignment_has_engine(world: &World, assignment: &Assignment) -> bool {
    world.work.path().join("work/engines").join(assignment.scope.account.to_string()).join("api/sock").exists()
}

/// The builder has ended: no process runs in its folder or knows a mount of it, and no network namespace was left.
async fn nothing_is_left(world: World) {
    let folder = world.work.path().to_owned();
    let kept = std::fs::read_dir("/run/netns").map(Iterator::count).unwrap_or(0);
    // The folder stays for a moment, to be looked for.
    let World { shutdown, builder, .. } = &world;
    shutdown.cancel();
    wait_for("the builder's end", Duration::from_secs(60), || builder.is_finished()).await;
    let name = folder.display().to_string();
    let knows = |path: &Path| std::fs::read(path).is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name.as_bytes()));
    let left = || -> Vec<String> {
        let processes =
            std::fs::read_dir("/proc").expect("proc").flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        let own = std::process::id().to_string();
        processes
            .filter(|entry| entry.file_name().to_string_lossy() != own)
            .filter(|entry| {
                let within = |link: &str| std::fs::read_link(entry.path().join(link)).is_ok_and(|target| target.starts_with(&folder));
                knows(&entry.path().join("cmdline")) || knows(&entry.path().join("mountinfo")) || within("root") || within("cwd")
            })
            .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default()).replace('\0', " "))
            .collect()
    };
    wait_for("the end of every process", Duration::from_secs(20), || left().is_empty()).await;
    assert!(!knows(Path::new("/proc/self/mountinfo")), "a mount is left");
    assert_eq!(std::fs::read_dir("/run/netns").map(Iterator::count).unwrap_or(0), kept);
    for engine in std::fs::read_dir(folder.join("work/engines")).into_iter().flatten().flatten() {
        let seats = std::fs::read_dir(engine.path().join("seats")).map(Iterator::count).unwrap_or(0);
        assert_eq!(seats, 0, "{}", engine.path().display());
    }
    for evil in ["evil-up", "evil-link", "evil-absolute"] {
        assert!(!Path::new("/tmp").join(evil).exists(), "{evil} is on the machine");
    }
}

#[tokio::test]
async fn a_step_of_a_dockerfile_gets_nowhere() {
    let canary = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(canary.path(), "host-canary").expect("written");
    let hidden = ["host-canary", SECRET, "root:x:0"];
    let world = run(ENGINE, of_steps(canary.path()), &hidden, |assignment| assignment.environment.clear()).await;
    nothing_is_left(world).await;
}

#[tokio::test]
async fn a_step_of_a_dockerfile_gets_nowhere_in_a_buildkitd_either() {
    let canary = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(canary.path(), "host-canary").expect("written");
    let daemon = Buildkitd::start(Listen::Socket).await.expect("buildkitd");
    let hidden = ["host-canary", SECRET, "root:x:0"];
    let world = run(daemon.address(), of_steps(canary.path()), &hidden, |assignment| assignment.environment.clear()).await;
    nothing_is_left(world).await;
}

#[tokio::test]
async fn hooks_and_tests_take_nothing_down_and_reach_nobody() {
    let (port, came) = listener().await;
    let world = run(ENGINE, of_hooks(port), &["root:x:0"], |assignment| assignment.environment.clear()).await;
    assert_eq!(came.load(Ordering::SeqCst), 0, "somebody came");
    nothing_is_left(world).await;
}

/// A disk of its own for the builder, gone with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=400m", "slipway-test"]).arg(folder.path()).status();
        assert!(mounted.expect("mount").success(), "a tmpfs cannot be mounted; the tests of engines of their own need root");
        Self(folder)
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.0.path()).expect("disk");
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[tokio::test]
async fn a_disk_that_a_build_fills_is_free_again_and_serves_the_next_one() {
    let disk = SmallDisk::new();
    let number = unique();
    let fill = "i=0; while [ $i -lt 400 ]; do /bin/busybox head -c 4000000 /dev/zero > /fill$i || exit 9; i=$((i+1)); /bin/busybox sleep 0.1; done";
    let files = [
        ("Dockerfile", format!("{BASE}ENV UNIQUE={number}\nRUN {fill}\n")),
        ("small/Dockerfile", format!("{BASE}ENV UNIQUE={number}\nRUN echo small\n")),
        ("small/busybox", git::BUSYBOX.to_owned()),
        ("hooks/post_checkout", "#!/bin/bash\ntrue\n".to_owned()),
        ("small/hooks/post_checkout", "#!/bin/bash\ntrue\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
    let world = World::start_within(disk.0.path(), &files, ENGINE, Duration::from_secs(60), EngineBounds::default()).await;
    let assignment = world.assignment("refs/heads/main");
    let mut next = Assignment { build: slipway_model::BuildId::new(), ..assignment.clone() };
    next.rule.dockerfile = "small/Dockerfile".parse().expect("path");
    let outcome = world.build(assignment).await;
    let Outcome::Failed { reason, retry } = outcome else { panic!("{outcome:?}") };
    assert_eq!((reason.code, retry), (FailureCode::DiskFull, true), "{reason:?}");
    assert!(reason.text.starts_with("the builder's disk is nearly full: ") && reason.text.ends_with(" MiB have to be"), "{reason:?}");
    // What it wrote is given back, and whoever waited gets the place.
    wait_for("the disk", Duration::from_secs(60), || disk.free() > 200_000_000).await;
    let build = next.build;
    let outcome = world.build(next).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{}", log(&world.server.events(build)));
    nothing_is_left(world).await;
}
