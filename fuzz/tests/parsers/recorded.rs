//! What was recorded of each kind of provider, by the request that it answers; and the headers and words that clients look for.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use slipway_fuzz::{Recipe, Seeds};

/// A method, the end of a path, the recorded answers to it, and answers that come before these: the first one of all makes the call go well.
pub type Row<'a> = (Method, &'static str, &'a [&'a str], &'a [&'a [u8]]);

pub const GITHUB: &[Row<'_>] = &[
    (Method::GET, "/user", &["github/api/goscm__user.json"], &[]),
    (Method::GET, "/user/orgs", &["github/api/goscm__orgs.json", "github/openapi-examples/get.user.orgs.200.default.json"], &[]),
    (Method::GET, "/user/memberships/orgs", &["github/openapi-examples/get.user.memberships.orgs.200.default.json"], &[]),
    (Method::GET, "/user/memberships/orgs/github", &["github/openapi-examples/get.user.memberships.orgs.org.200.default.json"], &[]),
    (Method::GET, "/repos", &["github/api/goscm__repos.json", "github/api/goscm__reposWithNull.json"], &[]),
    (Method::GET, "/Hello-World", &["github/api/goscm__repo.json"], &[]),
    (Method::GET, "/repositories/1296269", &["github/api/goscm__repo.json"], &[]),
    (
        Method::GET,
        "/branches",
        &["github/api/goscm__branches.json", "github/openapi-examples/get.repos.owner.repo.branches.200.default.json"],
        &[br#"[{"name":"gh-readonly-queue/main/pr-1-a","commit":{"sha":"aa218f56b14c9653891f9e74264a383fa43fefbd"}}]"#],
    ),
    (Method::GET, "/tags", &["github/openapi-examples/get.repos.owner.repo.tags.200.default.json"], &[]),
    (
        Method::GET,
        "/git/ref/heads/main",
        &["github/openapi-examples/get.repos.owner.repo.git.ref.ref.200.default.json"],
        &[br#"{"object":{"type":"tag","sha":"940bd336248efae0f9ee5bc7b2d5c985887b16ac"}}"#],
    ),
    (
        Method::GET,
        "/git/tags/940bd336248efae0f9ee5bc7b2d5c985887b16ac",
        &["github/openapi-examples/get.repos.owner.repo.git.tags.tag_sha.200.default.json"],
        &[],
    ),
    (
        Method::GET,
        "/hooks",
        &["github/openapi-examples/get.repos.owner.repo.hooks.200.default.json", "github/api/goscm__hooks.json"],
        &[br#"[{"id":7,"active":true,"events":["push"],"config":{"url":"https://slipway.example/hooks/1","secret":"********"}}]"#],
    ),
    (Method::POST, "/hooks", &["github/openapi-examples/post.repos.owner.repo.hooks.201.default.json"], &[]),
    (Method::PATCH, "/hooks/7", &["github/openapi-examples/patch.repos.owner.repo.hooks.hook_id.200.default.json"], &[]),
    (Method::GET, "/deliveries", &["github/openapi-examples/get.repos.owner.repo.hooks.hook_id.deliveries.200.default.json"], &[]),
    (Method::POST, "/attempts", &[], &[b"{}"]),
    (Method::GET, "/keys", &["github/openapi-examples/get.repos.owner.repo.keys.200.default.json"], &[]),
    (Method::POST, "/keys", &["github/openapi-examples/post.repos.owner.repo.keys.201.default.json"], &[]),
    (
        Method::POST,
        "/login/oauth/access_token",
        &["github/oauth/token-response.json", "github/oauth/error-200-bad_refresh_token.json", "github/oauth/error-bad_verification_code.json"],
        &[
            br#"{"access_token":"ghu_a","expires_in":28800,"refresh_token":"ghr_b","scope":""}"#,
            b"access_token=ghu_a&expires_in=28800&refresh_token=ghr_b&refresh_token_expires_in=15811200&scope=repo%2Cgist&token_type=bearer",
            b"error=bad_verification_code&error_description=The+code+c0de-of-a-person+is+gone",
        ],
    ),
    (Method::GET, "/pulls", &[], &[br#"[{"number":7,"state":"open","merged":false,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":{"id":1296269}},"base":{"ref":"main","repo":{"id":1296269}}}]"#]),
    (
        Method::GET,
        "/pulls/7",
        &[],
        &[
            br#"{"number":7,"state":"open","merged":false,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":{"id":1296269}},"base":{"ref":"main","repo":{"id":1296269}}}"#,
            br#"{"number":7,"state":"closed","merged":true,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":null},"base":{"ref":"main","repo":{"id":1296269}}}"#,
        ],
    ),
];

pub const GITHUB_REFUSALS: &[&str] = &[
    "github/api/goscm__error.json",
    "github/oauth/error-403-blocked-tos.json",
    "github/oauth/error-403-oauth-app-restrictions.json",
    "github/oauth/error-451-blocked.json",
    "github/oauth/error-200-bad_refresh_token.json",
];

pub const GITHUB_WORDS: &[&[u8]] = &[
    br#"{"message":"Resource protected by organization SAML enforcement. You must grant your OAuth token access to this organization."}"#,
    b"{\"message\":\"Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list enabled\"}",
    br#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#,
    br#"{"message":"You need at least read:org scope or user scope to list your organizations."}"#,
    br#"{"message":"Validation Failed","errors":[{"resource":"Hook","code":"custom","message":"Hook already exists on this repository"},"x"]}"#,
    br#"{"message":"Sorry. Your account was suspended. t0ken-of-a-person s3cret-of-ours"}"#,
    br#"{"error":"bad_refresh_token","error_description":"r3fresh-of-a-person c0de-of-a-person v3rifier-of-a-session"}"#,
    b"<html>Unicorn!</html>",
];

pub const BITBUCKET: &[Row<'_>] = &[
    (Method::GET, "/user", &["bitbucket-cloud/api/goscm__user.json"], &[]),
    (
        Method::GET,
        "/user/workspaces",
        &["bitbucket-cloud/openapi-examples/get.user.workspaces.200.response.json", "bitbucket-cloud/api/goscm__user_workspaces.json"],
        &[],
    ),
    (
        Method::GET,
        "/repositories/atlassian",
        &["bitbucket-cloud/api/goscm__repos-2.json", "bitbucket-cloud/api/goscm__repos.json"],
        &[br#"{"values":[],"next":"https://api.bitbucket.org/2.0/repositories/atlassian?pagelen=100&page=2"}"#],
    ),
    (Method::GET, "/stash-example-plugin", &["bitbucket-cloud/api/goscm__repo.json"], &[]),
    (Method::GET, "/%7B7dd600e6-0d9c-4801-b967-cb4cc17359ff%7D", &["bitbucket-cloud/api/goscm__repo.json"], &[]),
    (
        Method::GET,
        "/refs",
        &["bitbucket-cloud/openapi-examples/get.repositories.workspace.repo_slug.refs.branches.200.response.json"],
        &[
            br#"{"values":[{"type":"tag","name":"v1","target":{"hash":"a6e5e7d797edf751cbd839d6bd4aef86c941eec9"}}]}"#,
            br#"{"values":[],"next":"?page=2"}"#,
        ],
    ),
    (
        Method::GET,
        "/refs/branches/main",
        &["bitbucket-cloud/api/goscm__branch.json"],
        &[br#"{"type":"branch","name":"main","target":{"hash":"a6e5e7d797edf751cbd839d6bd4aef86c941eec9"}}"#],
    ),
    (
        Method::GET,
        "/hooks",
        &["bitbucket-cloud/api/goscm__hooks.json"],
        &[br#"{"values":[{"uuid":"{11111111-3f67-45ea-b310-aaa5ef6ec061}","url":"https://slipway.example/hooks/1","active":true,"events":[]}]}"#],
    ),
    (Method::POST, "/hooks", &["bitbucket-cloud/api/goscm__hook.json"], &[]),
    (Method::PUT, "ec061%7D", &["bitbucket-cloud/api/goscm__hook.json"], &[]),
    (
        Method::GET,
        "/deploy-keys",
        &["bitbucket-cloud/openapi-examples/get.repositories.workspace.repo_slug.deploy-keys.200.response.json"],
        &[],
    ),
    (
        Method::POST,
        "/deploy-keys",
        &["bitbucket-cloud/openapi-examples/post.repositories.workspace.repo_slug.deploy-keys.200.response.json"],
        &[],
    ),
    (
        Method::POST,
        "/site/oauth2/access_token",
        &["bitbucket-cloud/oauth/token-response-shape.json"],
        &[
            br#"{"access_token":"a.B-9_","scopes":"account webhook","expires_in":3600,"refresh_token":"r","token_type":"bearer"}"#,
            br#"{"error":"invalid_grant","error_description":"Invalid refresh_token r3fresh-of-a-person"}"#,
        ],
    ),
    (Method::GET, "/pullrequests", &[], &[br#"{"values":[{"id":7,"title":"A change","state":"OPEN","updated_on":"2026-11-27T05:24:26.123+00:00","source":{"branch":{"name":"feature"},"commit":{"hash":"aa218f56b14c"},"repository":{"uuid":"{7dd600e6-0d9c-4801-b967-cb4cc17359ff}"}},"destination":{"branch":{"name":"main"},"repository":{"uuid":"{7dd600e6-0d9c-4801-b967-cb4cc17359ff}"}}}]}"#]),
    (
        Method::GET,
        "/pullrequests/7",
        &[],
        &[
            br#"{"id":7,"title":"A change","state":"OPEN","updated_on":"2026-11-27T05:24:26.123+00:00","source":{"branch":{"name":"feature"},"commit":{"hash":"aa218f56b14c"},"repository":{"uuid":"{7dd600e6-0d9c-4801-b967-cb4cc17359ff}"}},"destination":{"branch":{"name":"main"},"repository":{"uuid":"{7dd600e6-0d9c-4801-b967-cb4cc17359ff}"}}}"#,
            br#"{"id":7,"title":"A change","state":"SUPERSEDED","updated_on":"2026-11-27T05:24:26.123+00:00","source":{"branch":{"name":"feature"},"commit":{"hash":"aa218f56b14c"},"repository":null},"destination":{"branch":{"name":"main"},"repository":{"uuid":"{7dd600e6-0d9c-4801-b967-cb4cc17359ff}"}}}"#,
        ],
    ),
];

pub const BITBUCKET_REFUSALS: &[&str] = &["bitbucket-cloud/api/goscm__error.json", "bitbucket-cloud/oauth/error-410-gone.json"];

pub const BITBUCKET_WORDS: &[&[u8]] = &[
    br#"{"type":"error","error":{"message":"Your credentials lack scopes.","detail":{"required":["webhook"],"granted":["account"]}}}"#,
    br#"{"type":"error","error":{"message":"To access this repository, an admin must whitelist your IP."}}"#,
    br#"{"type":"error","error":{"message":"Bad request","fields":{"url":["Enter a valid URL.","t0ken-of-a-person"]}}}"#,
    br#"{"type":"error","error":{"message":"no such t0ken-of-a-person","detail":"s3cret-of-ours"}}"#,
    br#"{"error":"invalid_grant","error_description":"r3fresh-of-a-person c0de-of-a-person"}"#,
    b"Rate limit for this resource has been exceeded",
];

pub const GITEA: &[Row<'_>] = &[
    (Method::GET, "/user", &["gitea/api/goscm__user.json"], &[]),
    (Method::GET, "/user/orgs", &["gitea/api/goscm__organizations.json"], &[br#"[{"id":1,"name":"acme","visibility":"private"}]"#]),
    (Method::GET, "/repos", &["gitea/api/goscm__repos.json"], &[]),
    (
        Method::GET,
        "/go-gitea/gitea",
        &["gitea/api/goscm__repo.json"],
        &[br#"{"id":1,"full_name":"a/b","private":true,"updated_at":"2026-11-27T04:24:26Z"}"#],
    ),
    (Method::GET, "/repositories/1", &["gitea/api/goscm__repo.json"], &[]),
    (
        Method::GET,
        "/hooks",
        &["gitea/api/goscm__hooks.json"],
        &[br#"[{"id":7,"active":true,"events":["push"],"config":{"url":"https://slipway.example/hooks/1"}}]"#],
    ),
    (Method::POST, "/hooks", &["gitea/api/goscm__hook.json"], &[]),
    (Method::GET, "/keys", &[], &[br#"[{"id":1,"title":"t","key":"ssh-ed25519 AAAA you@host","read_only":true}]"#, b"[]"]),
    (Method::POST, "/keys", &[], &[br#"{"id":1,"title":"t","key":"ssh-ed25519 AAAA","read_only":true}"#]),
    (Method::GET, "/info/refs", &[], &[ADVERTISEMENT, EMPTY_ADVERTISEMENT]),
    (Method::GET, "/git/commits/aa218f56b14c9653891f9e74264a383fa43fefbd", &["gitea/api/goscm__commit.json"], &[]),
    (
        Method::POST,
        "/login/oauth/access_token",
        &["gitea/oauth/token-response.json"],
        &[
            br#"{"access_token":"a.B-9_","token_type":"bearer","expires_in":3600,"refresh_token":"r"}"#,
            br#"{"error":"unauthorized_client","error_description":"token r3fresh-of-a-person was already used"}"#,
        ],
    ),
    (
        Method::POST,
        "/login/oauth/introspect",
        &[],
        &[br#"{"active":true,"scope":"read:user public-only","iss":"x","aud":"y"}"#, br#"{"active":true}"#, br#"{"active":false}"#],
    ),
    (Method::GET, "/pulls", &[], &[br#"[{"number":7,"state":"open","merged":false,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":{"id":1}},"base":{"ref":"main","repo":{"id":1}}}]"#]),
    (
        Method::GET,
        "/pulls/7",
        &[],
        &[
            br#"{"number":7,"state":"open","merged":false,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":{"id":1}},"base":{"ref":"main","repo":{"id":1}}}"#,
            br#"{"number":7,"state":"closed","merged":true,"title":"A change","updated_at":"2026-11-27T05:24:26Z","head":{"ref":"feature","sha":"aa218f56b14c9653891f9e74264a383fa43fefbd","repo":null},"base":{"ref":"main","repo":{"id":1}}}"#,
        ],
    ),
];

pub const GITEA_WORDS: &[&[u8]] = &[
    br#"{"message":"token does not have at least one of required scope(s), required=[read:organization read:user], token scope=read:user"}"#,
    br#"{"message":"This account is prohibited from signing in, please contact your site administrator.","url":"https://try.gitea.io/api/swagger"}"#,
    br#"{"message":"no such t0ken-of-a-person s3cret-of-ours","errors":null}"#,
    br#"{"error":"invalid_grant","error_description":"r3fresh-of-a-person c0de-of-a-person v3rifier-of-a-session"}"#,
    br#"{"message":"SSH is disabled"}"#,
    b"",
];

pub const ADVERTISEMENT: &[u8] = b"001e# service=git-upload-pack\n0000\
    0058aa218f56b14c9653891f9e74264a383fa43fefbd HEAD\0multi_ack symref=HEAD:refs/heads/main\n\
    003daa218f56b14c9653891f9e74264a383fa43fefbd refs/heads/main\n\
    003ac5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc refs/tags/v1\n\
    003daa218f56b14c9653891f9e74264a383fa43fefbd refs/tags/v1^{}\n\
    003eaa218f56b14c9653891f9e74264a383fa43fefbd refs/pull/1/head\n0000";
pub const EMPTY_ADVERTISEMENT: &[u8] =
    b"001e# service=git-upload-pack\n0000004d0000000000000000000000000000000000000000 capabilities^{}\0multi_ack agent\n0000";

/// Headers that mean something to a client; a bit of the number of an input stands for each.
static HEADERS: LazyLock<Vec<(HeaderName, Seeds)>> = LazyLock::new(|| {
    let rows: &[(&'static str, &[&[u8]])] = &[
        (
            "link",
            &[
                b"<https://api.github.com/x?page=2>; rel=\"next\", <https://api.github.com/x?page=9>; rel=\"last\"",
                b"</x?page=2&cursor=v1_2>; REL=next",
                b"<https://evil.example/x>; rel=\"next\"",
                b"<//evil.example/x>; rel=\"prev next\"",
                b"<https://api.github.com:444/x>; rel=next",
            ],
        ),
        (
            "location",
            &[
                b"https://api.github.com/repositories/1296269",
                b"/2.0/user",
                b"//evil.example/",
                b"https://u:p@api.bitbucket.org/",
                b"javascript:x",
            ],
        ),
        ("retry-after", &[b"17", b"0", b"999999999999", b"-1", b"Fri, 27 Nov 2026 04:24:31 GMT"]),
        ("x-ratelimit-remaining", &[b"0", b"4999"]),
        ("x-ratelimit-reset", &[b"1795839871", b"1", b"18446744073709551615"]),
        ("x-oauth-scopes", &[b"repo, read:org", b"account, repository", b""]),
        ("x-accepted-oauth-scopes", &[b"admin:repo_hook, public_repo, repo", b""]),
        (
            "x-github-sso",
            &[
                b"required; url=https://github.com/orgs/acme/sso?authorization_request=x",
                b"partial-results; organizations=21955855,20582480",
                b"required; url=https://evil.example/orgs/acme/sso",
            ],
        ),
        ("etag", &[b"\"e1\"", b"W/\"3a5f\""]),
        ("date", &[b"Fri, 27 Nov 2026 04:24:31 GMT"]),
        ("x-total-count", &[b"0", b"120"]),
        (
            "content-type",
            &[
                b"application/json",
                b"application/vnd.github+json",
                b"application/x-www-form-urlencoded; charset=utf-8",
                b"application/x-git-upload-pack-advertisement",
                b"text/html",
            ],
        ),
    ];
    rows.iter().map(|(name, seeds)| (HeaderName::from_static(name), Seeds::of(seeds))).collect()
});

pub const LINK: u16 = 1;
pub const CONTENT_TYPE: u16 = 1 << 11;

/// The headers of these bits; one of them is changed, the others are as they are recorded.
pub fn headers(bits: u16, twist: &Recipe) -> HeaderMap {
    let (which, changes, own) = twist;
    let chosen = HEADERS.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    let value = |bit: usize, seeds: &Seeds| match bit == changes.len() % HEADERS.len() {
        true => seeds.bend(twist),
        false => seeds.bend(&(*which, Vec::new(), own.clone())),
    };
    chosen.filter_map(|(bit, (name, seeds))| Some((name.clone(), HeaderValue::from_bytes(&value(bit, seeds)).ok()?))).collect()
}
