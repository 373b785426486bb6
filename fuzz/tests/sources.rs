//! A target for every parser of what lies in a source, and of what git and engines say of it: test files, Dockerfiles, addresses, words,
//! patterns, the streams from which secrets are taken. Nothing panics, and what is accepted keeps its promise.
//! As `parsers.rs`: each runs for a second in an ordinary test run, `make fuzz` gives each its time.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bolero::check;
use slipway_builder::parsers;
use slipway_fuzz::{Recipe, Seeds};
use slipway_model::{BuildRule, RefName};

/// A checkout with a Dockerfile, other files, and links that lead out of it. Each file of the source itself says so.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("app/deep")).unwrap();
    for path in ["Dockerfile", "app/Dockerfile", "app/vars.env", "app/deep/file"] {
        std::fs::write(at(path), "FROM here").unwrap();
    }
    std::os::unix::fs::symlink("/etc", at("etc")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("passwd")).unwrap();
    folder
}

/// What a service could do to the machine that it runs on.
const DANGEROUS: &[&str] = &[
    "privileged",
    "cap_add",
    "cgroup",
    "cgroup_parent",
    "credential_spec",
    "device_cgroup_rules",
    "devices",
    "gpus",
    "pid",
    "runtime",
    "security_opt",
    "sysctls",
    "userns_mode",
    "uts",
];

fn text<'v>(value: &'v serde_norway::Value, key: &str) -> &'v str {
    value.get(key).and_then(serde_norway::Value::as_str).unwrap_or_default()
}

/// Panics unless whatever runs of this file stays in its containers and its source.
fn is_harmless(file: &str, checkout: &Path) {
    let value: serde_norway::Value = serde_norway::from_str(file).unwrap();
    for (_, service) in value.get("services").and_then(serde_norway::Value::as_mapping).into_iter().flatten() {
        for key in DANGEROUS {
            assert!(service.get(key).is_none(), "`{key}`: {file}");
        }
        for (mode, bad) in [("network_mode", &["host", "container:"][..]), ("ipc", &["host", "container:"][..])] {
            assert!(!bad.iter().any(|bad| text(service, mode).starts_with(bad)), "`{mode}`: {file}");
        }
        for from in service.get("volumes_from").and_then(serde_norway::Value::as_sequence).into_iter().flatten() {
            assert!(from.as_str().is_some_and(|from| !from.starts_with("container:")), "`volumes_from`: {file}");
        }
        for mount in service.get("volumes").and_then(serde_norway::Value::as_sequence).into_iter().flatten() {
            let short = mount.as_str().unwrap_or_default();
            let source =
                if short.starts_with('/') && short.contains(':') { short.split(':').next().unwrap() } else { text(mount, "source") };
            if source.starts_with('/') && text(mount, "type") != "volume" {
                assert!(Path::new(source).starts_with(checkout) && !source.split('/').any(|part| part == ".."), "{source}: {file}");
                assert!(Path::new(source).canonicalize().unwrap().starts_with(checkout.canonicalize().unwrap()), "{source}: {file}");
            }
        }
    }
}

#[test]
fn test_files() {
    let folder = checkout();
    let root = folder.path().to_str().unwrap();
    let seeds = [
        "name: p\nservices:\n  sut:\n    build: {context: '@/app', dockerfile: Dockerfile, args: {A: b}}\n    command: [sh, -c, id]\n    \
         volumes: [{type: bind, source: '@/app/deep', target: /x, read_only: true}, {type: volume, source: v, target: /y}]\n    \
         network_mode: service:db\n    ipc: private\n    logging: {driver: local}\n  db: {image: x, volumes: ['@/app:/a:ro']}\n\
         volumes: {v: {name: p_v, driver: local}}\nnetworks: {default: {name: p_default}}\nsecrets: {s: {file: '@/app/vars.env'}}\n",
        "services: {a: &a {image: x, privileged: true}, b: {<<: *a, pid: host, devices: [/dev/sda]}}\n",
        "services: {a: {image: x, volumes: ['/etc:/e', '@/etc:/f', '/:/g:shared'], network_mode: host, cap_add: [ALL]}}\n",
        "services: {a: {build: {context: '@', dockerfile_inline: \"# syntax=evil/x\\nFROM x\"}, env_file: [{path: ../../etc/passwd}]}}\n",
        "include: [{path: [deep/x.yml, ../passwd], env_file: vars.env}]\nservices: {sut: {image: x, volumes_from: ['container:x', db], \
         env_file: [{path: y, required: false}], build: {context: ., secrets: [s]}}}\nsecrets: {s: {environment: S}}\n",
        "include: [x.yml]\nservices: {a: {extends: {file: ../x.yml, service: b}}, c: !tag {env_file: [vars.env]}}\n",
    ];
    let seeds = seeds.map(|seed| seed.replace('@', root));
    let seeds = Seeds::of(&seeds.each_ref().map(|seed| seed.as_bytes()));
    check!().with_type::<Recipe>().for_each(|recipe| {
        let file = seeds.bend(recipe);
        match parsers::compose_file(folder.path(), &file, "p") {
            Ok(resolved) => is_harmless(&resolved, folder.path()),
            Err(why) => assert!(!why.is_empty()),
        }
        std::fs::write(folder.path().join("app/a.test.yml"), &file).unwrap();
        assert!(parsers::compose_reads(folder.path(), "app/a.test.yml").err().is_none_or(|why| !why.is_empty()));
    });
}

/// The program that some version of the engine would take for its frontend: the last or first line of one kind at the top, or a word of JSON.
fn frontends(dockerfile: &str) -> Vec<String> {
    let body = if dockerfile.starts_with("#!") { dockerfile.split_once('\n').map_or("", |(_, rest)| rest) } else { dockerfile };
    let mut found = Vec::new();
    for comment in ["#", "//"] {
        for line in body.strip_prefix('\u{feff}').unwrap_or(body).lines() {
            let Some((name, value)) = line.strip_prefix(comment).and_then(|line| line.split_once('=')) else { break };
            let name = name.trim_matches([' ', '\t']);
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) || value.trim().is_empty() {
                break;
            }
            if name.eq_ignore_ascii_case("syntax") {
                found.push(value.trim().split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    if let Ok(serde_json::Value::Object(words)) = serde_json::from_str(body) {
        found.extend(words.get("syntax").and_then(|word| word.as_str()).map(str::to_owned));
    }
    found
}

#[test]
fn dockerfiles() {
    let folder = checkout();
    let seeds = Seeds::of(&[
        b"# syntax=docker/dockerfile:1\n# escape=`\nARG A=1 B\nFROM x\nARG C\\\n  D\n",
        b"#!/bin/x\n// syntax=docker.io/docker/dockerfile:1@sha256:00\nFROM x\n",
        b"# syntax=docker/dockerfile\n# syntax=evil/x\nFROM x\n",
        b"{\"syntax\": \"evil/x\"}",
        b"/app/Dockerfile",
        b"app/../passwd",
        b"etc/passwd",
    ]);
    check!().with_type::<(Recipe, Recipe)>().for_each(|(one, other)| {
        let (dockerfile, path) = (seeds.text(one), seeds.text(other));
        for name in parsers::dockerfile_arguments(dockerfile.as_bytes()) {
            assert!(!name.contains(['=', '\n']) && !name.contains(char::is_whitespace), "{name:?}");
        }
        if parsers::dockerfile_frontend(dockerfile.as_bytes()).is_ok() {
            for image in frontends(&dockerfile) {
                let name = image.strip_prefix("docker.io/").unwrap_or(&image);
                let rest = name.strip_prefix("docker/dockerfile");
                assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@'])), "{image:?} of {dockerfile:?}");
            }
        }
        let mut rule = BuildRule::default_for("main".parse().unwrap());
        if let (Ok(context), Ok(dockerfile)) = (dockerfile.parse(), path.parse()) {
            (rule.context, rule.dockerfile) = (context, dockerfile);
            if let Ok((path, content)) = parsers::dockerfile_of(folder.path(), &rule) {
                assert!(content.starts_with(b"FROM here"), "`{path}` is no file of the source");
            }
        }
    });
}

#[test]
fn addresses_and_keys_of_servers() {
    let seeds = Seeds::of(&[
        b"ssh://git@git.example:22/octo/hello.git",
        b"ssh://git@[::1]/x",
        b"ssh://-oProxyCommand=x/y",
        b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        b"@cert-authority * ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ==",
    ]);
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        match parsers::ssh_address(&text) {
            Ok(address) => {
                let host = address.strip_prefix("ssh://").unwrap().split('/').next().unwrap();
                assert!(!host.starts_with('-') && !host.contains("@-") && !host.contains(['$', '`', ';', '\'', '"', '%']), "{address}");
                assert!(!address.contains(|c: char| c.is_control() || c == ' ' || !c.is_ascii()), "{address:?}");
            }
            Err(why) => assert!(!why.chars().any(char::is_control) || why.lines().count() == 1, "{why:?}"),
        }
        if let Some(line) = parsers::known_host(&text) {
            let line = line.strip_suffix('\n').unwrap();
            assert!(line.starts_with("slipway-source ") && !line.contains(char::is_control), "{line:?}");
            assert!(!line["slipway-source ".len()..].starts_with(['@', '*', '|', '#', ' ']), "{line:?}");
        }
    });
}

#[test]
fn words_of_git() {
    let seeds = Seeds::of(&[
        b"fatal: couldn't find remote ref refs/heads/main\n",
        b"fatal: remote error: upload-pack: not our ref 0000000000000000000000000000000000000000\n",
        b"git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n",
        b"a/b.bin\0c d.bin\0",
        b"A subject\0Ada\0A subject\n\nA body.\n\n",
    ]);
    let source: RefName = "refs/heads/main".parse().unwrap();
    check!().with_type::<Recipe>().for_each(|recipe| {
        let bytes = seeds.bend(recipe);
        let said = parsers::fetch_problem(&String::from_utf8_lossy(&bytes), &source);
        assert!(!said.is_empty());
        let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty()).count();
        let nothing = slipway_model::PathFilter { exclude: "**".parse().unwrap(), ..Default::default() };
        assert_eq!(parsers::changed(&bytes, &slipway_model::PathFilter::default()), (names, names));
        assert_eq!(parsers::changed(&bytes, &nothing), (0, names));
        let (subject, author, message) = parsers::words_of_commit(&bytes);
        assert!(subject.chars().count() <= 500 && author.chars().count() <= 200, "{subject:?} {author:?}");
        assert!(message.len() <= 64 * 1024 && ![subject, author, message].iter().any(|words| words.contains('\0')));
    });
}

#[test]
fn submodules() {
    let seeds = Seeds::of(&[
        b"submodule.x.path\nlibs/x\0submodule.x.url\n../x.git\0submodule.a.b.path\ny\0submodule.a.b.url\nhttps://h/y\0core.pager\nid\0",
        b"040000 tree aa\tlibs\x00160000 commit bb\tlibs/x\x00160000 commit cc\t../y\0",
        b"https://git.example:8443/octo/lib.git",
        b"https://user:password@git.example/octo/lib.git",
        b"ssh://git@git.example:2222/~octo/lib.git",
        b"git@git.example:octo/lib.git",
        b"../../acme/./lib.git",
        b"../%2e%2e/../lib.git",
        b"ext::sh -c touch% x",
        b"-u./payload",
        b"file:///etc/passwd",
    ]);
    let parent: url::Url = "https://source.example/forge/octo/app.git".parse().unwrap();
    check!().with_type::<Recipe>().for_each(|recipe| {
        let bytes = seeds.bend(recipe);
        let entries = bytes.split(|byte| *byte == 0).count();
        let listed = parsers::gitmodules(&bytes);
        assert!(listed.len() <= entries && listed.iter().all(|(path, url)| !path.contains('\0') && !url.contains('\0')));
        assert!(parsers::gitlinks(&bytes).iter().all(|(path, commit)| !path.contains(&0) && !commit.contains(' ')));
        let text = seeds.text(recipe);
        let Ok(address) = parsers::submodule_address(&text, &parent) else { return };
        // `<helper>::<address>` runs a program, by git's rule for the characters of a helper's name.
        let after_name = address.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
        assert!(
            !address.starts_with('-') && !after_name.starts_with("::") && !address.contains(|c: char| c.is_control() || c == ' '),
            "{address:?}"
        );
        let over_http = ["https://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme));
        match over_http {
            // A host and a path, and no user in front of them.
            Some(rest) => {
                let (host, path) = rest.split_once('/').unwrap();
                assert!(!host.contains('@') && !host.is_empty() && !path.is_empty(), "{text:?} became {address}");
                assert!(!path.split('/').any(|part| part == ".."), "{text:?} became {address}");
                assert!(!text.starts_with('.') || host == "source.example", "{text:?} left its host: {address}");
            }
            None => {
                let plain = address.strip_prefix("ssh://").unwrap_or(&address);
                let (user, rest) = plain.split_once('@').unwrap();
                assert!(!user.starts_with('-') && !rest.starts_with('-') && !text.starts_with('.'), "{text:?} became {address}");
                assert!(!address.contains(['$', '`', ';', '\'', '"', '\\', '&', '|', '<', '>', '(', '*', '?']), "{address}");
            }
        }
    });
}

#[test]
fn large_files() {
    let seeds = Seeds::of(&[
        b"version https://git-lfs.github.com/spec/v1\noid sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nsize 12\n",
        b"lfs.url\nhttps://evil.example/octo/app.git/info/lfs\0lfs.locksverify\nfalse\0",
        b"remote.origin.lfsurl\nhttps://source.example/octo/app.git/info/lfs\0",
    ]);
    let own: url::Url = "https://source.example/octo/app.git".parse().unwrap();
    check!().with_type::<Recipe>().for_each(|recipe| {
        let bytes = seeds.bend(recipe);
        assert!(parsers::lfs_pointer(&bytes).is_none() || bytes.starts_with(b"version https://"));
        // Whatever names another host is noticed.
        let named =
            |entry: &[u8]| entry.strip_prefix(b"lfs.url\n".as_slice()).is_some_and(|url| !url.starts_with(b"https://source.example"));
        if bytes.split(|byte| *byte == 0).any(named) {
            assert!(parsers::lfs_elsewhere(&bytes, &own).is_some(), "{:?}", String::from_utf8_lossy(&bytes));
        }
    });
}

#[test]
fn keys_of_repositories() {
    let seeds = Seeds::of(&[
        b"# a comment\ngit.example,192.0.2.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl x\n",
        b"[git.example]:2222 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ==\r\n",
        b"@revoked * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n|1|aaaa=|bbbb= ssh-ed25519 AAAA\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\\nAAAA\\n-----END OPENSSH PRIVATE KEY-----\\n",
    ]);
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).count();
        match parsers::known_hosts(&text) {
            Ok(known) => assert!(known >= lines, "a line is lost: {text:?}"),
            Err(why) => assert!(why.contains("`SSH_KNOWN_HOSTS`")),
        }
        let key = parsers::private_key(&text);
        assert_eq!(parsers::private_key(&key), key, "read once is read");
        assert!(!key.contains('\r'));
    });
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn streams_with_secrets() {
    // Three letters, so that secrets begin with the ends of others, hold others, and nearly come.
    let letters = |bytes: &[u8]| bytes.iter().map(|byte| char::from(b'a' + byte % 3)).collect::<String>();
    check!().with_type::<(Vec<Vec<u8>>, Vec<u8>, Vec<u8>)>().for_each(|(secrets, stream, cuts)| {
        let secrets: Vec<String> = secrets.iter().take(6).map(|bytes| letters(&bytes[..bytes.len().min(12)])).collect();
        let mut text = letters(stream).into_bytes();
        for (number, cut) in cuts.iter().enumerate().take(secrets.len() * 2) {
            let at = usize::from(*cut) % (text.len() + 1);
            let secret = secrets[number % secrets.len()].bytes();
            text.splice(at..at, secret);
        }
        let mut pieces = Vec::new();
        let (mut rest, mut sizes) = (text.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| usize::from(size % 9)).min(rest.len());
            let (piece, after) =
                if size == 0 && cuts.iter().all(|cut| cut % 9 == 0) { rest.split_at(rest.len()) } else { rest.split_at(size) };
            pieces.push(piece);
            rest = after;
        }
        let words: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let shown = parsers::masked(&words, &pieces);
        for secret in secrets.iter().filter(|secret| secret.len() >= 6) {
            assert!(!holds(&shown, secret.as_bytes()), "{secret} of {secrets:?} in {:?}", String::from_utf8_lossy(&shown));
        }
        assert_eq!(shown, parsers::masked(&words, &[&text]), "cut or not");
        // Of the encodings that are masked too, only the mirror is made of these letters.
        let mirrored = |secret: &str| secret.bytes().rev().collect::<Vec<u8>>();
        let told = |secret: &String| holds(&text, secret.as_bytes()) || holds(&text, &mirrored(secret));
        if !secrets.iter().any(|secret| secret.len() >= 6 && told(secret)) {
            assert_eq!(shown, text, "nothing else is taken out");
        }
    });
}

/// A tar of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn secrets_in_images() {
    const SECRET: &str = "a-secret-of-24-characters";
    let image = |layer: &[u8]| {
        let layer = archive(&[("etc/motd", b"hello"), ("app/x", layer)]);
        let config = br#"{"config":{"Env":["A=b"]},"history":[{"created_by":"COPY . /app"},{"created_by":"ENV A=b","empty_layer":true}]}"#;
        let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["l/layer.tar"]}]"#;
        archive(&[("l/layer.tar", layer.as_slice()), ("c.json", config), ("manifest.json", manifest)])
    };
    let seeds = Seeds::of(&[&image(b"nothing"), &image(SECRET.as_bytes()), &archive(&[("manifest.json", b"[{\"Config\":\"x\"}]")])]);
    check!().with_type::<(Recipe, Vec<u16>, u16)>().for_each(|(recipe, cuts, before)| {
        let cut = |whole: &[u8]| {
            let (mut pieces, mut at) = (Vec::new(), 0);
            for cut in cuts {
                let end = (at + usize::from(*cut)).min(whole.len());
                pieces.push(whole[at..end].to_vec());
                at = end;
            }
            pieces.push(whole[at..].to_vec());
            pieces
        };
        let look = |whole: &[u8]| {
            let pieces = cut(whole);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let found = parsers::secrets_in_image(&[("TOKEN", SECRET)], &pieces);
            assert_eq!(found, parsers::secrets_in_image(&[("TOKEN", SECRET)], &[whole]), "cut or not");
            found
        };
        look(&seeds.bend(recipe)).ok();
        let content = [vec![b'x'; usize::from(*before)], SECRET.as_bytes().to_vec(), b"y".to_vec()].concat();
        assert_eq!(look(&image(&content)).map(|found| found.len()), Ok(1), "behind {before} bytes");
    });
}

#[test]
fn patterns_and_pushes() {
    let seeds = Seeds::of(&[
        b"node_modules\n**/*.log\n!keep.log\na[b-d]?/x\\*\n",
        b"app/deep/keep.log",
        b"{\"status\":\"Pushing\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"a\"}\n{\"aux\":{\"Tag\":\"x\",\"Digest\":\"sha256:00\",\"Size\":3}}\n",
        b"{\"status\":\"x\"}\r\n{\"errorDetail\":{\"message\":\"denied\"},\"error\":\"denied: /var/lib/docker/x\"}\n",
    ]);
    check!().with_type::<(Recipe, Recipe)>().for_each(|(one, other)| {
        let (text, path, bytes) = (seeds.text(one), seeds.text(other), seeds.bend(one));
        let lines: Vec<&str> = text.lines().take(50).collect();
        match slipway_buildkit::Patterns::new(&lines) {
            Ok(patterns) => {
                let path: String = path.chars().take(300).collect();
                let matched = patterns.matches(&path);
                assert_eq!(matched, patterns.matches(&path));
                assert!(!matched || lines.iter().any(|line| !line.trim().is_empty()), "no pattern matches nothing");
            }
            Err(why) => assert!(why.to_string().contains("is no file pattern")),
        }
        let middle = bytes.len() / 2;
        let (whole, cut) = (
            slipway_buildkit::parsers::push_stream(&[&bytes]),
            slipway_buildkit::parsers::push_stream(&[&bytes[..middle], &bytes[middle..]]),
        );
        assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
        if let Ok((_, digest)) = whole {
            assert!(text.contains("Digest") && (text.contains(&digest) || text.contains('\\')), "{digest} was never named: {text:?}");
        }
    });
}

/// One detail of a gRPC status, as a buildkitd writes it: field 3 of the status, with a name and JSON in it. All of them are shorter than 128.
fn detail(kind: &str, json: &str) -> Vec<u8> {
    let name = format!("github.com/moby/buildkit/{kind}+json");
    let field = |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    field(0x1a, &[field(0x0a, name.as_bytes()), field(0x12, json.as_bytes())].concat())
}

#[test]
fn failures_of_engines() {
    let both = [detail("gatewayapi.ExitMessage", "{\"Code\":42}"), detail("errdefs.Vertex", "{\"Digest\":\"sha256:aa\"}")].concat();
    let parsed = slipway_buildkit::parsers::failure_details(&both);
    assert_eq!(parsed, (Some(42), Some("sha256:aa".to_owned())));
    let seeds = Seeds::of(&[
        &both,
        &detail("stack.Stack", "{\"cmdline\":[\"buildkitd\"]}"),
        b"rpc error: code = Unknown desc = failed to solve: open /var/lib/docker/tmp/buildkit-mount9/a/b: no such file",
        b"process \"/bin/sh -c make\" did not complete successfully: exit code: 2\n/src/solver.go:12\ngoroutine 1",
    ]);
    check!().with_type::<(Recipe, Recipe)>().for_each(|(one, other)| {
        let bytes = seeds.bend(one);
        let (code, step) = slipway_buildkit::parsers::failure_details(&bytes);
        let named = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        assert!(code.is_none() || named(b"ExitMessage+json"), "a code that nobody named");
        assert!(step.is_none() || named(b"Vertex+json"), "a step that nobody named");
        let shown = slipway_buildkit::parsers::scrubbed(&seeds.text(other));
        assert!(shown.chars().count() <= 2001, "{} characters", shown.chars().count());
        assert!(!shown.lines().any(|line| line.starts_with("goroutine ")), "{shown}");
    });
}
