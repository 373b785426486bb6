//! Exit code, standard output and standard error of every refusal, as the real binary gives them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// One run of the binary in a fresh folder.
struct Case {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    file: Option<&'static str>,
}

const NONE: Case = Case { name: "defaults", arguments: &["check-config"], environment: &[], file: None };

const PROVIDER: &str = r#"
[[provider]]
id = "github"
kind = "github"
client_id = "abc"
client_secret = "hush-hush"
"#;

/// A key as GitHub hands it out.
static APP_KEY: LazyLock<String> = LazyLock::new(|| {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_pem(&key, rsa::pkcs1::LineEnding::LF).unwrap().to_string()
});

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Runs a case; paths of the temporary folder are written as `[DIR]`.
fn run(case: &Case) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = case.file {
        std::fs::write(folder.path().join("slipway.toml"), text).unwrap();
    }
    std::fs::write(folder.path().join("empty"), "").unwrap();
    if case.file.is_some_and(|text| text.contains("app.pem")) {
        write_private(&folder.path().join("app.pem"), &APP_KEY);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(case.arguments)
        .env_clear()
        .envs(case.environment.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let real = folder.path().canonicalize().unwrap();
    let hide = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace(real.to_str().unwrap(), "[DIR]")
            .replace(folder.path().to_str().unwrap(), "[DIR]")
    };
    let code = output.status.code().unwrap();
    let mut text = String::new();
    writeln!(text, "# {}\n$ slipway {}", case.name, case.arguments.join(" ")).unwrap();
    writeln!(text, "exit: {code}\nstdout:\n{}stderr:\n{}", hide(&output.stdout), hide(&output.stderr)).unwrap();
    // Columns are as wide as the temporary folder's name is long.
    (code, text.lines().map(|line| squeeze(line) + "\n").collect())
}

fn squeeze(line: &str) -> String {
    let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    words.join("  ")
}

fn all(cases: &[Case], code: i32) -> String {
    let mut text = String::new();
    for case in cases {
        let (found, shown) = run(case);
        assert_eq!(found, code, "{shown}");
        assert!(code == 0 || shown.contains("\nhint: "), "a refusal without a hint:\n{shown}");
        text.push_str(&shown);
    }
    text
}

#[test]
fn mistakes_on_the_command_line() {
    let cases = [
        Case { name: "no command", arguments: &[], ..NONE },
        Case { name: "unknown command", arguments: &["srve"], ..NONE },
        Case { name: "unknown command, nothing near", arguments: &["fly"], ..NONE },
        Case { name: "unknown flag", arguments: &["serve", "--lisen", "1"], ..NONE },
        Case { name: "flag without value", arguments: &["serve", "--listen"], ..NONE },
        Case { name: "builder without server", arguments: &["builder"], ..NONE },
        Case { name: "user without password file", arguments: &["admin", "user", "add", "octo"], ..NONE },
        Case { name: "admin without command", arguments: &["admin"], ..NONE },
        Case { name: "twice", arguments: &["serve", "--listen", "a", "--listen", "b"], ..NONE },
        Case { name: "a later version's command", arguments: &["copy-db", "--to", "postgres://x"], ..NONE },
        Case { name: "token with an unknown scope", arguments: &["admin", "token", "octo", "--scope", "repo:al"], ..NONE },
        Case { name: "user with a bad name", arguments: &["admin", "user", "add", "Octo", "--password-file", "empty"], ..NONE },
        Case { name: "user with an empty password file", arguments: &["admin", "user", "add", "octo", "--password-file", "empty"], ..NONE },
        Case {
            name: "user with a missing password file",
            arguments: &["admin", "user", "add", "octo", "--password-file", "nowhere"],
            ..NONE
        },
        Case { name: "builder with a bad server", arguments: &["builder", "--server", "ftp://x", "--token-file", "empty"], ..NONE },
        Case {
            name: "builder with an empty token file",
            arguments: &["builder", "--server", "http://127.0.0.1:1", "--token-file", "empty"],
            ..NONE
        },
    ];
    insta::assert_snapshot!(all(&cases, 2));
}

#[test]
fn unknown_keys() {
    let cases = [
        Case { name: "in the file", file: Some("data_dir = \"x\"\nlisen = \"127.0.0.1:1\"\n"), ..NONE },
        Case { name: "in the file, nothing near", file: Some("flux_capacitor = 1\n"), ..NONE },
        Case { name: "in [builder]", file: Some("[builder]\nengin = \"x\"\n"), ..NONE },
        Case { name: "a table", file: Some("[bilder]\nengine = \"x\"\n"), ..NONE },
        Case { name: "in [[provider]]", file: Some("[[provider]]\nid = \"github\"\nclient_sekret = \"x\"\n"), ..NONE },
        Case { name: "in [mail]", file: Some("[mail]\nurll = \"x\"\n"), ..NONE },
        Case { name: "in [limits]", file: Some("[limits]\napi_per_hour = 3\n"), ..NONE },
        Case { name: "in [[oidc]]", file: Some("[[oidc]]\nid = \"corp\"\nisuer = \"x\"\n"), ..NONE },
        Case { name: "in [[oidc]], nothing near", file: Some("[[oidc]]\nflux_capacitor = \"x\"\n"), ..NONE },
        Case { name: "in the environment", environment: &[("SLIPWAY_LISTN", "x")], ..NONE },
        Case { name: "in the environment, nothing near", environment: &[("SLIPWAY_WARP", "9")], ..NONE },
    ];
    insta::assert_snapshot!(all(&cases, 2));
}

#[test]
fn values_that_cannot_be_used() {
    let cases = [
        Case { name: "named file missing", arguments: &["check-config", "--config", "nowhere.toml"], ..NONE },
        Case { name: "file is a folder", arguments: &["check-config", "--config", "."], ..NONE },
        Case { name: "no TOML", file: Some("a = \n"), ..NONE },
        Case { name: "wrong type", file: Some("listen = 8080\n"), ..NONE },
        Case { name: "number as text", file: Some("[builder]\nparallel = \"2\"\n"), ..NONE },
        Case { name: "builder is no table", file: Some("builder = 3\n"), ..NONE },
        Case { name: "provider is no list", file: Some("[provider]\nid = \"x\"\n"), ..NONE },
        Case { name: "listen", environment: &[("SLIPWAY_LISTEN", "localhost")], ..NONE },
        Case { name: "empty variable", environment: &[("SLIPWAY_LISTEN", "")], ..NONE },
        Case { name: "public_url with a path", arguments: &["check-config", "--public-url", "https://x.example/slipway"], ..NONE },
        Case { name: "public_url of another scheme", arguments: &["check-config", "--public-url", "ftp://x"], ..NONE },
        Case { name: "database_url", arguments: &["check-config", "--database-url", "mysql://u:secret@h/d"], ..NONE },
        Case { name: "storage_url", arguments: &["check-config", "--storage-url", "s3://bucket/p"], ..NONE },
        Case { name: "engine", arguments: &["check-config", "--builder-engine", "docker.sock"], ..NONE },
        Case { name: "engine in the open", arguments: &["check-config", "--builder-engine", "tcp://builder-1:2376"], ..NONE },
        Case { name: "certificate without its key", arguments: &["check-config", "--builder-engine-cert-file", "empty"], ..NONE },
        Case { name: "key without its certificate", arguments: &["check-config", "--builder-engine-key-file", "empty"], ..NONE },
        Case {
            name: "authority that is no certificate",
            arguments: &["check-config", "--builder-engine", "buildkit+tcp://builder-1:1234", "--builder-engine-ca-file", "empty"],
            ..NONE
        },
        Case { name: "authority for a socket", arguments: &["check-config", "--builder-engine-ca-file", "empty"], ..NONE },
        Case { name: "authority that is not there", arguments: &["check-config", "--builder-engine-ca-file", "nowhere.pem"], ..NONE },
        Case { name: "parallel", arguments: &["check-config", "--builder-parallel", "0"], ..NONE },
        Case { name: "memory", arguments: &["check-config", "--builder-memory", "10"], ..NONE },
        Case { name: "little memory", arguments: &["check-config", "--builder-memory", "64M"], ..NONE },
        Case { name: "enabled", arguments: &["check-config", "--builder-enabled", "yes"], ..NONE },
        Case { name: "interval", arguments: &["check-config", "--reconcile-interval", "5 minutes"], ..NONE },
        Case { name: "interval too short", arguments: &["check-config", "--reconcile-interval", "1ms"], ..NONE },
        Case { name: "log", arguments: &["check-config", "--log", "a=b=c"], ..NONE },
        Case { name: "queue", arguments: &["check-config", "--queue-running", "-1"], ..NONE },
        Case { name: "queue of a namespace", arguments: &["check-config", "--queue-per-namespace", "100001"], ..NONE },
        Case { name: "limits of no table", file: Some("[queue]\nnamespaces = 3\n"), ..NONE },
        Case { name: "a limit as text", file: Some("[queue.namespaces]\nacme = \"4\"\n"), ..NONE },
        Case { name: "a limit too large", file: Some("[queue.namespaces]\nacme = 1_000_000\n"), ..NONE },
        Case { name: "a limit of no namespace", file: Some("[queue.namespaces]\n\"A/B\" = 4\n"), ..NONE },
    ];
    insta::assert_snapshot!(all(&cases, 2));
}

#[test]
fn providers_that_cannot_be_used() {
    let cases = [
        Case { name: "no id", file: Some("[[provider]]\nkind = \"github\"\n"), ..NONE },
        Case { name: "bad id", file: Some("[[provider]]\nid = \"Git Hub\"\nkind = \"github\"\n"), ..NONE },
        Case { name: "unknown kind", file: Some("[[provider]]\nid = \"a\"\nkind = \"svn\"\n"), ..NONE },
        Case { name: "later kind", file: Some("[[provider]]\nid = \"a\"\nkind = \"gitlab\"\n"), ..NONE },
        Case {
            name: "bad url",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nweb_url = \"github.com\"\napi_url = \"https://x\"\n"),
            ..NONE
        },
        Case {
            name: "url with password",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nweb_url = \"https://x\"\napi_url = \"https://u:p@x\"\n"),
            ..NONE
        },
        Case {
            name: "one url of two",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nweb_url = \"https://git.example\"\n"),
            ..NONE
        },
        Case { name: "no client id", file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\n"), ..NONE },
        Case { name: "no secret", file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\n"), ..NONE },
        Case {
            name: "both secrets",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\nclient_secret_file = \"f\"\n",
            ),
            ..NONE
        },
        Case {
            name: "secret file missing",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret_file = \"nowhere\"\n"),
            ..NONE
        },
        Case {
            name: "secret file empty",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret_file = \"empty\"\n"),
            ..NONE
        },
        Case {
            name: "app without its key",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\napp_id = 1\n"),
            ..NONE
        },
        Case {
            name: "key without its app",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\nprivate_key_file = \"app.pem\"\n",
            ),
            ..NONE
        },
        Case {
            name: "app id is a text",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\napp_id = \"1\"\nprivate_key_file = \"app.pem\"\n",
            ),
            ..NONE
        },
        Case {
            name: "app key missing",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\napp_id = 1\nprivate_key_file = \"nowhere\"\n",
            ),
            ..NONE
        },
        Case {
            name: "app key is none",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\napp_id = 1\nprivate_key_file = \"empty\"\n",
            ),
            ..NONE
        },
        Case {
            name: "app of bitbucket",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"bitbucket\"\nclient_id = \"c\"\nclient_secret = \"s\"\napp_id = 1\nprivate_key_file = \"app.pem\"\n",
            ),
            ..NONE
        },
        Case {
            name: "gitea without an address",
            file: Some("[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\n"),
            ..NONE
        },
        Case {
            name: "ssh without host keys",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_url = \"ssh://git@git.example\"\n",
            ),
            ..NONE
        },
        Case {
            name: "host keys without ssh",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_host_keys = [\"ssh-ed25519 AAAA\"]\n",
            ),
            ..NONE
        },
        Case {
            name: "ssh with a path",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_url = \"ssh://git@git.example/o/r\"\n",
            ),
            ..NONE
        },
        Case {
            name: "no host key",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_url = \"ssh://git@git.example\"\nssh_host_keys = [\"ssh-ed25519 AAAA\"]\n",
            ),
            ..NONE
        },
        Case {
            name: "host keys are no list",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_host_keys = \"ssh-ed25519 AAAA\"\n",
            ),
            ..NONE
        },
        Case {
            name: "host keys of numbers",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"gitea\"\nclient_id = \"c\"\nclient_secret = \"s\"\nweb_url = \"https://git.example\"\nssh_host_keys = [1]\n",
            ),
            ..NONE
        },
        Case { name: "egress is no network", file: Some("[egress]\nallow = [\"10.0.0.0/99\"]\n"), ..NONE },
        Case {
            name: "same id twice",
            file: Some(
                "[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\n\n[[provider]]\nid = \"a\"\nkind = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\n",
            ),
            ..NONE
        },
    ];
    insta::assert_snapshot!(all(&cases, 2));
}

#[test]
fn settings_about_people_that_cannot_be_used() {
    let cases = [
        Case { name: "mail is no table", file: Some("mail = \"smtp://x\"\n"), ..NONE },
        Case { name: "limits is no table", file: Some("limits = 3\n"), ..NONE },
        Case { name: "oidc is no list", file: Some("[oidc]\nid = \"x\"\n"), ..NONE },
        Case { name: "oidc of texts", file: Some("oidc = [\"x\"]\n"), ..NONE },
        Case { name: "mail without a sender", arguments: &["check-config", "--mail-url", "smtp://me:hush-hush@mail.example.com"], ..NONE },
        Case { name: "a sender without mail", arguments: &["check-config", "--mail-from", "a@example.com"], ..NONE },
        Case {
            name: "mail of another scheme",
            arguments: &["check-config", "--mail-url", "http://me:hush-hush@mail.example.com", "--mail-from", "a@example.com"],
            ..NONE
        },
        Case {
            name: "mail of no address",
            arguments: &["check-config", "--mail-url", "me:hush-hush@mail.example.com", "--mail-from", "a@example.com"],
            ..NONE
        },
        Case {
            name: "mail with a password in the open",
            arguments: &["check-config", "--mail-url", "smtp://me:hush-hush@mail.example.com?tls=none", "--mail-from", "a@example.com"],
            ..NONE
        },
        Case {
            name: "mail with an unknown wish",
            arguments: &["check-config", "--mail-url", "smtp://mail.example.com?tls=perhaps", "--mail-from", "a@example.com"],
            ..NONE
        },
        Case {
            name: "mail into a relative folder",
            environment: &[("SLIPWAY_MAIL_URL", "file://mails"), ("SLIPWAY_MAIL_FROM", "a@example.com")],
            ..NONE
        },
        Case {
            name: "a sender that is none",
            environment: &[("SLIPWAY_MAIL_URL", "file:///mails"), ("SLIPWAY_MAIL_FROM", "slipway")],
            ..NONE
        },
        Case { name: "sign_up", arguments: &["check-config", "--sign-up", "yes"], ..NONE },
        Case { name: "limit of zero", arguments: &["check-config", "--limits-api-per-minute", "0"], ..NONE },
        Case { name: "limit as text", file: Some("[limits]\napi_per_minute = \"many\"\n"), ..NONE },
        Case { name: "oidc without id", file: Some("[[oidc]]\nissuer = \"https://id.example.com\"\n"), ..NONE },
        Case { name: "oidc with a bad id", file: Some("[[oidc]]\nid = \"A corp\"\n"), ..NONE },
        Case { name: "oidc with an empty name", file: Some("[[oidc]]\nid = \"corp\"\nname = \"\"\n"), ..NONE },
        Case { name: "oidc without issuer", file: Some("[[oidc]]\nid = \"corp\"\n"), ..NONE },
        Case { name: "oidc whose issuer is no address", file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"id.example.com\"\n"), ..NONE },
        Case {
            name: "oidc whose issuer has a query",
            file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com/?x=1\"\n"),
            ..NONE
        },
        Case { name: "oidc without TLS", file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"http://id.example.com\"\n"), ..NONE },
        Case {
            name: "oidc with odd scopes",
            file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nscopes = \"open\\\\id\"\n"),
            ..NONE
        },
        Case {
            name: "oidc with a wish that is no boolean",
            file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\ncreate_accounts = \"yes\"\n"),
            ..NONE
        },
        Case { name: "oidc without client id", file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\n"), ..NONE },
        Case {
            name: "oidc without secret",
            file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\n"),
            ..NONE
        },
        Case {
            name: "oidc with both secrets",
            file: Some(
                "[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\nclient_secret = \"s\"\nclient_secret_file = \"f\"\n",
            ),
            ..NONE
        },
        Case {
            name: "oidc whose secret file is empty",
            file: Some("[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\nclient_secret_file = \"empty\"\n"),
            ..NONE
        },
        Case {
            name: "the same oidc id twice",
            file: Some(
                "[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\nclient_secret = \"s\"\n\n[[oidc]]\nid = \"corp\"\nissuer = \"https://id2.example.com\"\nclient_id = \"c\"\nclient_secret = \"s\"\n",
            ),
            ..NONE
        },
        Case {
            name: "the same issuer twice",
            file: Some(
                "[[oidc]]\nid = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\nclient_secret = \"s\"\n\n[[oidc]]\nid = \"corp-2\"\nissuer = \"https://id.example.com\"\nclient_id = \"c\"\nclient_secret = \"s\"\n",
            ),
            ..NONE
        },
    ];
    let text = all(&cases, 2);
    assert!(!shown_by_us(&text).contains("hush-hush"), "a secret is shown:\n{text}");
    insta::assert_snapshot!(text);
}

/// What the binary wrote, without the command lines of the cases.
fn shown_by_us(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("$ ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn check_config_says_every_value_and_its_source() {
    let cases = [
        NONE,
        Case {
            name: "all layers",
            arguments: &[
                "check-config",
                "--builder-parallel",
                "4",
                "--queue-running",
                "8",
                "--sign-up",
                "open",
                "--limits-api-per-minute",
                "60",
            ],
            environment: &[
                ("SLIPWAY_LISTEN", "127.0.0.1:9000"),
                ("SLIPWAY_DATABASE_URL", "postgres://slip:hush-hush@db.example/slipway"),
                ("SLIPWAY_MAIL_URL", "smtp://me:hush-hush@mail.example.com"),
                ("SLIPWAY_MAIL_FROM", "Slipway <slipway@example.com>"),
                ("SLIPWAY_TEST_ANYTHING", "1"),
                ("SLIPWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ],
            file: Some(
                "data_dir = \"here\"\nlisten = \"127.0.0.1:1\"\n[builder]\nparallel = 3\n[queue]\nper_namespace = 2\n[queue.namespaces]\nacme = 4\n[[provider]]\nid = \"ghe\"\nkind = \"github\"\n\
                 web_url = \"http://127.0.0.1:7000\"\napi_url = \"http://git.example/api/v3\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n\
                 [[oidc]]\nid = \"corp\"\nname = \"Acme login\"\nissuer = \"https://id.example.com\"\nclient_id = \"slipway\"\n\
                 client_secret = \"hush-hush\"\ncreate_accounts = true\n",
            ),
        },
        Case {
            name: "providers of every kind",
            environment: &[("SLIPWAY_EGRESS_ALLOW", "10.1.0.0/16, avatars.ghe.example")],
            file: Some(
                "[egress]\nallow = [\"fd00::/8\"]\n\
                 [[provider]]\nid = \"app\"\nkind = \"github\"\nclient_id = \"a\"\nclient_secret = \"hush-hush\"\napp_id = 42\nprivate_key_file = \"app.pem\"\n\
                 [[provider]]\nid = \"bitbucket\"\nkind = \"bitbucket\"\nclient_id = \"b\"\nclient_secret = \"hush-hush\"\n\
                 [[provider]]\nid = \"forgejo\"\nkind = \"gitea\"\nweb_url = \"https://git.example\"\nclient_id = \"c\"\nclient_secret = \"hush-hush\"\n\
                 ssh_url = \"ssh://git@git.example:2222\"\n\
                 ssh_host_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\"]\n",
            ),
            ..NONE
        },
        Case {
            name: "mail without TLS",
            arguments: &["check-config", "--mail-url", "smtp://mail.internal:25?tls=none", "--mail-from", "a@example.com"],
            ..NONE
        },
    ];
    let text = all(&cases, 0);
    assert!(!text.contains("hush-hush"), "a secret is shown:\n{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn check_config_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slipway.toml"), PROVIDER).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .arg("check-config")
        .env_clear()
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_example_is_accepted_and_says_the_defaults() {
    let example = std::fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../slipway.example.toml"))).unwrap();
    let load = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("slipway.toml"), text).unwrap();
        write_private(&folder.path().join("github-app.pem"), &APP_KEY);
        let loaded = slipway_server::config::load(&Default::default(), &Vec::new(), folder.path()).unwrap();
        let folder = folder.path().display().to_string();
        loaded.shown.into_iter().map(|line| (line.name, line.text.replace(&folder, ""))).collect::<Vec<_>>()
    };
    let clean = |mut lines: Vec<(String, String)>| {
        for line in &mut lines {
            line.1 = line.1.trim_end_matches('/').to_owned();
        }
        lines
    };
    assert_eq!(clean(load(&example)), clean(load("")));
    // The commented tables must be right too: without its comment signs each is a table like any other.
    for shows in [
        "provider.github.client_id",
        "provider.github-app.app_id",
        "provider.bitbucket.client_id",
        "provider.forgejo.ssh_host_keys",
        "oidc.corp.client_id",
        "mail.from",
    ] {
        let (table, id) = shows.split_once('.').map(|(table, rest)| (table, rest.split('.').next().unwrap())).unwrap();
        let head = if table == "mail" { "# [mail]".to_owned() } else { format!("# [[{table}]]\n# id = \"{id}\"") };
        let at = example.find(&head).unwrap_or_else(|| panic!("the example has no {head}"));
        let lines = example[at..].lines().take_while(|line| !line.is_empty());
        let text: String = lines.map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        let text = ["github", "github-app", "bitbucket", "forgejo", "corp"]
            .iter()
            .fold(text, |text, name| text.replace(&format!("client_secret_file = \"{name}.secret\""), "client_secret = \"s\""));
        assert!(load(&text).iter().any(|(name, value)| name == shows && value != "none"), "{text}");
    }
}
