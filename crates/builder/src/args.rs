//! What the builder itself reads in a Dockerfile: the arguments it declares and the frontend it asks for.
//!
//! The invariant: a Dockerfile may not choose a program of its own as the frontend, which would run outside of any step.
//! Deliberately elsewhere: everything else about Dockerfiles; BuildKit reads them.

use std::collections::BTreeSet;

use slipway_model::FailureCode;

use crate::failure::Failure;

/// Names declared by `ARG`, in any stage.
pub(crate) fn declared(dockerfile: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(dockerfile);
    let escape = directives(&text).find(|(name, _)| name == "escape").and_then(|(_, value)| value.chars().next()).unwrap_or('\\');
    let mut names = BTreeSet::new();
    let mut joined = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(begin) = line.strip_suffix(escape) {
            joined.push_str(begin);
            joined.push(' ');
            continue;
        }
        joined.push_str(line);
        let mut words = joined.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("arg")) {
            names.extend(words.map(|word| word.split('=').next().unwrap_or(word).to_owned()));
        }
        joined.clear();
    }
    names
}

/// Refuses `# syntax=` of any image but Docker's own. Which of several lines counts depends on the engine's version, so all are looked at.
pub(crate) fn check_frontend(dockerfile: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(dockerfile);
    if is_json(&text) {
        let detail = "a Dockerfile in JSON is not allowed: newer engines read `syntax` of it, expected `FROM`";
        return Err(Failure::new(FailureCode::DockerfileInvalid, detail));
    }
    match directives(&text).find(|(name, image)| name == "syntax" && !is_dockers_own(image)) {
        None => Ok(()),
        Some((_, image)) => {
            let shown: String = image.chars().take(200).collect();
            Err(Failure::new(FailureCode::DockerfileInvalid, format!("`syntax={shown}` is not allowed, expected `docker/dockerfile`")))
        }
    }
}

fn is_dockers_own(image: &str) -> bool {
    // As the engine does: at a space, and at nothing else that is blank.
    let image = image.split(' ').next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    matches!(name, "docker/dockerfile" | "docker.io/docker/dockerfile")
}

/// Whether it could be an object in JSON. No instruction begins like that, and what is malformed for us need not be so for others.
fn is_json(text: &str) -> bool {
    lines(text).find(|line| !line.is_empty()).is_some_and(|line| line.starts_with('{'))
}

/// Trimmed, also of byte order marks, and without a first line of `#!`, which newer frontends skip.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().enumerate().filter(|(number, line)| *number > 0 || !line.starts_with("#!"));
    lines.map(|(_, line)| line.trim_start_matches('\u{feff}').trim())
}

/// The `# name=value` lines at the top; newer frontends also read `//` there.
fn directives(text: &str) -> impl Iterator<Item = (String, String)> {
    lines(text)
        .take_while(|line| line.is_empty() || line.starts_with('#') || line.starts_with("//"))
        .filter_map(|line| line.trim_start_matches(['#', '/']).split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_arguments_are_found() {
        let text = "# escape=`\nARG A\nFROM x\n  arg B=1 C\nRUN ARG=2 echo\n#ARG D\nARG `\n E=`\n5\nENV ARG F\n";
        assert_eq!(declared(text.as_bytes()).into_iter().collect::<Vec<_>>(), ["5", "A", "B", "C", "E"]);
        assert_eq!(declared(b"FROM x\nARG A\\\n  B\n").len(), 2);
    }

    #[test]
    fn only_dockers_own_frontend_is_allowed() {
        for good in [
            "FROM x",
            "# syntax=docker/dockerfile:1\nFROM x",
            "#syntax = docker.io/docker/dockerfile:1.4@sha256:abc",
            "# a comment\nFROM x",
            "FROM x\n# syntax=evil/x",
            "#!/bin/x\n# syntax=docker/dockerfile",
            "",
        ] {
            assert!(check_frontend(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "# syntax=evil/frontend\nFROM x",
            "# escape=`\n# SYNTAX=evil/x:1",
            "// syntax=evil/x",
            "\u{feff}# syntax=evil/x",
            "# syntax=docker/dockerfile/evil",
            "# syntax=evil:5000/docker/dockerfile",
            "#!/bin/x\n# syntax=evil/x",
            "# first\n\n# syntax=evil/x",
            "# syntax=docker/dockerfile\r\rx",
            "# syntax=docker/dockerfile\tx",
            "#!/bin/x\n\u{feff}// syntax=evil/x",
            "# syntax=docker/dockerfile:1\n# syntax=evil/x",
            "// syntax=docker/dockerfile:1\n# syntax=evil/x",
            "{\"syntax\": \"evil/x\"}",
            "#!/bin/x\n\n  {\"a\": \"\\ud800\", \"syntax\": \"evil/x\"}",
        ] {
            assert!(check_frontend(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
