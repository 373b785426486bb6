//! Hostile and honest compose files.

use super::*;
use std::os::unix::fs::symlink;

struct Sample {
    folder: tempfile::TempDir,
    tree: Tree,
}

impl Sample {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("data/deep")).expect("folders");
        for (path, content) in [("Dockerfile", "FROM x"), ("Evil", "# syntax=evil/x\nFROM x"), ("vars.env", "A=1"), ("data/file", "x")] {
            std::fs::write(at(path), content).expect("file");
        }
        symlink("/etc", at("etc")).expect("link");
        symlink("/etc/passwd", at("passwd")).expect("link");
        let tree = Tree::open(folder.path()).expect("tree");
        Self { folder, tree }
    }

    fn ground(&self) -> Ground<'_> {
        Ground { source: &self.tree, path: self.folder.path() }
    }

    /// The service's fields as YAML in flow style; `@` stands for the checkout.
    fn service(&self, fields: &str) -> Result<(), String> {
        self.file(&format!("services: {{sut: {{image: x, {fields}}}}}"))
    }

    fn file(&self, text: &str) -> Result<(), String> {
        let text = text.replace('@', &self.folder.path().display().to_string());
        let value: Value = serde_norway::from_str(&text).expect(&text);
        check_resolved(&self.ground(), &value, "p")
    }

    fn reads(&self, text: &str) -> Result<(), String> {
        std::fs::write(self.folder.path().join("t.yml"), text).expect("file");
        check_reads(&self.tree, "t.yml", "sut").map(drop)
    }
}

#[test]
fn honest_files_pass() {
    let sample = Sample::new();
    for fields in [
        "command: [a], environment: {A: b}, depends_on: [b], ports: ['80:80'], tmpfs: /x, x-note: y",
        "build: '@'",
        "build: {context: '@', dockerfile: Dockerfile, args: {A: b}}",
        "volumes: ['@:/src', 'named:/data', '/anonymous']",
        "volumes: [{type: bind, source: '@/data', target: /d}, {type: volume, source: n, target: /n}]",
        "network_mode: none",
        "volumes: ['@:/src:ro', '@/data:/data:rw']",
        "logging: {driver: none}",
        "deploy: {resources: {limits: {memory: 1G}}}",
        "volumes_from: [db, 'web:ro'], annotations: {a: b}, develop: {watch: [{path: /x, action: sync, target: /y}]}",
        "build: {context: '@', secrets: [{source: s, target: /x}]}",
    ] {
        assert_eq!(sample.service(fields), Ok(()), "{fields}");
    }
    assert_eq!(
        sample.file("{version: '3', services: {a: {image: x}}, volumes: {v: {name: p_v}, w: null}, networks: {n: {driver: bridge}}}"),
        Ok(())
    );
    assert_eq!(sample.file("{services: {}, secrets: {s: {file: '@/vars.env'}, t: {environment: T}}, configs: {c: {content: x}}}"), Ok(()));
}

#[test]
fn each_way_out_is_refused_by_its_field() {
    let sample = Sample::new();
    for (fields, named) in [
        ("privileged: true", "`privileged`"),
        ("devices: ['/dev/sda']", "`devices`"),
        ("cap_add: [ALL]", "`cap_add`"),
        ("network_mode: host", "`network_mode: host`"),
        ("network_mode: 'container:x'", "`network_mode"),
        ("pid: host", "`pid`"),
        ("ipc: host", "`ipc: host`"),
        ("uts: host", "`uts`"),
        ("userns_mode: host", "`userns_mode`"),
        ("cgroup: host", "`cgroup`"),
        ("security_opt: ['seccomp:unconfined']", "`security_opt`"),
        ("cgroup_parent: x", "`cgroup_parent`"),
        ("runtime: x", "`runtime`"),
        ("volumes: ['/:/host']", "`/`"),
        ("volumes: ['/var/run/docker.sock:/s']", "docker.sock"),
        ("volumes: ['@/etc:/x']", "leads out"),
        ("volumes: ['@/../x:/x']", "outside"),
        ("volumes: ['@/data:/x:rshared']", "shared"),
        ("volumes: [{type: npipe, source: x}]", "npipe"),
        ("volumes: [{type: bind, source: /, target: /h}]", "`/`"),
        ("volumes: ['@:/src', '@/data:/d']", "`data`"),
        ("volumes: ['@/data:/a', '@/data/deep:/d:ro']", "data/deep"),
        ("volumes_from: ['container:x']", "`volumes_from: container:x`"),
        ("volumes_from: [{a: b}]", "`volumes_from`"),
        ("build: /etc", "build.context"),
        ("build: 'https://h/x.git'", "build.context"),
        ("build: '@/etc'", "build.context"),
        ("build: {context: '@', dockerfile: passwd}", "build.dockerfile"),
        ("build: {context: '@', dockerfile: ../../etc/passwd}", "build.dockerfile"),
        ("build: {context: '@', dockerfile: Evil}", "syntax"),
        ("build: {context: '@', dockerfile_inline: \"# syntax=evil/x\\nFROM x\"}", "syntax"),
        ("build: {context: '@', network: host}", "build.network"),
        ("build: {context: '@', additional_contexts: {x: /etc}}", "build.additional_contexts"),
        ("build: {context: '@', ssh: [default]}", "build.ssh"),
        ("build: {context: '@', privileged: true}", "build.privileged"),
        ("logging: {driver: syslog}", "logging.driver"),
        ("provider: {type: x}", "`provider`"),
        ("use_api_socket: true", "`use_api_socket`"),
        ("gpus: all", "`gpus`"),
        ("sysctls: {a: 1}", "`sysctls`"),
        ("post_start: [{command: x, privileged: true}]", "`post_start`"),
        ("pre_stop: [{command: x}]", "`pre_stop`"),
        ("models: [m]", "`models`"),
        ("credential_spec: {file: x}", "`credential_spec`"),
        ("build: {context: '@', entitlements: [security.insecure]}", "build.entitlements"),
        ("build: {context: '@', cache_to: [x]}", "build.cache_to"),
        ("deploy: {resources: {reservations: {devices: [{}]}}}", "devices"),
    ] {
        let refused = sample.service(fields).expect_err(fields);
        assert!(refused.contains(named), "{fields}: {refused}");
    }
    for (text, named) in [
        ("{services: {}, volumes: {v: {driver_opts: {type: none, o: bind, device: /}}}}", "driver_opts"),
        ("{services: {}, volumes: {v: {external: true}}}", "external"),
        ("{services: {}, volumes: {v: {name: other_data}}}", "name"),
        ("{services: {}, volumes: {v: {driver: sshfs}}}", "driver"),
        ("{services: {}, networks: {n: {external: {name: bridge}}}}", "external"),
        ("{services: {}, networks: {n: {driver: host}}}", "driver"),
        ("{services: {}, secrets: {s: {file: /etc/shadow}}}", "secrets"),
        ("{services: {}, secrets: {s: {file: '@/passwd'}}}", "secrets"),
        ("{services: {}, secrets: {s: {external: true}}}", "secrets"),
        ("{services: {a: {build: {context: '@', secrets: [s]}}}, secrets: {s: {environment: S}}}", "`build.secrets` of a variable"),
        ("{services: {a: {build: {context: '@', secrets: [{source: s}]}}}, secrets: {s: {environment: S}}}", "`a`"),
        ("{services: {}, models: {m: {}}}", "models"),
        ("[]", "no compose file"),
    ] {
        let refused = sample.file(text).expect_err(text);
        assert!(refused.contains(named), "{text}: {refused}");
    }
}

#[test]
fn files_that_compose_reads_come_from_the_source() {
    let sample = Sample::new();
    assert_eq!(sample.reads("services: {sut: {image: x, env_file: vars.env}}"), Ok(()));
    assert_eq!(sample.reads("services: {sut: {image: x, env_file: [./vars.env, {path: vars.env}]}}"), Ok(()));
    assert_eq!(sample.reads("services: {sut: {image: x, env_file: [{path: missing.env, required: false}]}}"), Ok(()));
    std::fs::write(sample.folder.path().join("data/more.yml"), "services: {db: {image: x, env_file: ../vars.env}}").expect("file");
    for include in ["[data/more.yml]", "data/more.yml", "[{path: [data/more.yml, ./data/more.yml], env_file: vars.env}]"] {
        assert_eq!(sample.reads(&format!("include: {include}\nservices: {{sut: {{image: x}}}}")), Ok(()), "{include}");
    }
    // What stands there as a file may be an address elsewhere for compose.
    std::fs::create_dir_all(sample.folder.path().join("https:/h")).expect("folders");
    std::fs::write(sample.folder.path().join("https:/h/x.git"), "services: {b: {image: x}}").expect("file");
    std::fs::write(sample.folder.path().join("base.yml"), "services: {b: {image: x, env_file: /etc/passwd}}").expect("file");
    for text in [
        "services: {sut: {env_file: /etc/passwd}}",
        "services: {sut: {env_file: passwd}}",
        "services: {sut: {env_file: ../x}}",
        "services: {sut: {env_file: '${HOME}/x'}}",
        "services: {sut: {env_file: [{path: /etc/shadow, required: false}]}}",
        "sut: {env_file: etc/passwd}",
        "x-c: &c {env_file: /etc/passwd}\nservices: {sut: {<<: *c}}",
        "include: [other.yml]",
        "include: [passwd]",
        "include: [../x.yml]",
        "include: ['https://h/x.git']",
        "include: ['oci://h/x']",
        "include: [{path: data/more.yml, project_directory: /}]",
        "include: [{path: data/more.yml, env_file: /etc/passwd}]",
        "include: [{file: data/more.yml}]",
        "include: [base.yml]",
        "include: [t.yml]",
        "x-c: &c {include: [passwd]}\n<<: *c",
        "services: {sut: {extends: {file: /x.yml, service: a}}}",
        "services: {sut: {extends: {file: base.yml, service: b}}}",
        "services: {sut: {extends: {file: t.yml, service: b}}}",
        "services: {sut: {env_file: data}}",
        "services: {sut: {label_file: /etc/passwd}}",
        "services: {sut: {extends: {file: 'https://h/x.git', service: b}}}",
        "a: [b",
        "services: {sut: {env_file: missing.env}}",
    ] {
        assert!(sample.reads(text).is_err(), "{text}");
    }
}

#[test]
fn the_service_that_decides_is_found_where_it_may_stand() {
    let sample = Sample::new();
    let write = |name: &str, text: &str| std::fs::write(sample.folder.path().join(name), text).expect("file");
    write("with.yml", "services: {sut: {image: x}}");
    write("without.yml", "services: {db: {image: x}}");
    for (text, alone, whole) in [
        ("services: {sut: {image: x}}", Some(true), true),
        ("sut: {image: x}", Some(true), true),
        ("x-s: &s {sut: {image: x}}\nservices: {<<: *s}", Some(true), true),
        ("services: {web: {image: x, environment: {sut: a}}}", Some(false), false),
        ("services: {web: {extends: {file: with.yml, service: sut}}}", Some(false), false),
        ("include: [with.yml]", None, true),
        ("include: [without.yml]\nservices: {web: {image: x}}", None, false),
        ("", Some(false), false),
        ("[sut]", Some(false), false),
    ] {
        write("t.yml", text);
        assert_eq!(names_service(&sample.tree, "t.yml", "sut"), Ok(alone), "{text}");
        assert_eq!(check_reads(&sample.tree, "t.yml", "sut"), Ok(whole), "{text}");
    }
    write("t.yml", "a: [b");
    assert!(names_service(&sample.tree, "t.yml", "sut").expect_err("refused").contains("no YAML"));
}
