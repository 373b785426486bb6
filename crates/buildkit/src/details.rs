//! What a buildkitd says of a failure in types, beside its text: the exit code of a process, and the step.
//!
//! The invariant: only these two are taken; its other details are stacks and command lines of the daemon. Deliberately elsewhere: the text
//! (`explain`), which is all that older engines give.

use bollard_buildkit_proto::google::rpc::Status as Detailed;
use prost::Message as _;
use serde::Deserialize;
use tonic::Status;

/// More than any failure needs; what says more is not looked at.
const MAX_BYTES: usize = 1024 * 1024;

/// Of one failure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) exit_code: Option<i32>,
    /// Digest of the step.
    pub(crate) step: Option<String>,
}

#[derive(Deserialize)]
struct Exit {
    #[serde(rename = "Code", default)]
    code: u32,
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(alias = "Digest", alias = "digest")]
    digest: String,
}

impl Details {
    /// `google.rpc.Status`, whose details are JSON under their Go types' names (buildkit `util/grpcerrors`).
    pub(crate) fn of(status: &Status) -> Self {
        let bytes = status.details();
        let mut details = Self::default();
        if bytes.is_empty() || bytes.len() > MAX_BYTES {
            return details;
        }
        for detail in Detailed::decode(bytes).map(|status| status.details).unwrap_or_default() {
            if detail.type_url.ends_with("gatewayapi.ExitMessage+json") {
                let exit = serde_json::from_slice::<Exit>(&detail.value).ok();
                details.exit_code = details.exit_code.or(exit.and_then(|exit| i32::try_from(exit.code).ok()));
            } else if detail.type_url.ends_with("errdefs.Vertex+json") {
                let vertex = serde_json::from_slice::<Vertex>(&detail.value).ok();
                details.step = details.step.or(vertex.map(|vertex| vertex.digest));
            }
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Any;
    use tonic::Code;

    #[test]
    fn code_and_step_are_taken_and_stacks_are_not() {
        let of = |kind: &str, value: &str| Any { type_url: format!("github.com/moby/buildkit/{kind}+json"), value: value.into() };
        let all = Detailed {
            details: vec![
                of("stack.Stack", r#"{"frames":[{"Name":"main"}],"cmdline":["buildkitd","--secret"]}"#),
                of("gatewayapi.ExitMessage", r#"{"Code":42}"#),
                of("errdefs.Vertex", r#"{"Digest":"sha256:aa"}"#),
                of("errdefs.Source", "garbage"),
            ],
            ..Detailed::default()
        };
        let status = |bytes: Vec<u8>| Status::with_details(Code::Unknown, "x", bytes.into());
        assert_eq!(Details::of(&status(all.encode_to_vec())), Details { exit_code: Some(42), step: Some("sha256:aa".into()) });
        assert_eq!(Details::of(&status(b"\xff garbage".to_vec())), Details::default());
        assert_eq!(Details::of(&Status::unknown("x")), Details::default());
    }
}
