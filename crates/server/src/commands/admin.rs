//! `slipway admin user|token|fsck`: work beside a running server or without one.

use std::io::{BufRead, Read};
use std::path::Path;

use secrecy::SecretString;
use slipway_app::Role;
use slipway_model::{AccountName, Scope, ScopeSet};

use super::open;
use crate::cli::{AdminCommand, UserCommand};
use crate::config::Config;
use crate::failure::Failure;

const MAX_PASSWORD_BYTES: u64 = 4096;

/// Runs one of the commands; the answer is what goes to standard output.
pub(crate) async fn run(config: &Config, command: &AdminCommand) -> Result<String, Failure> {
    match command {
        AdminCommand::User { command: UserCommand::Add { name, admin, password_file } } => {
            let role = if *admin { Role::Administrator } else { Role::User };
            add_user(config, name, role, password_file).await
        }
        AdminCommand::User { command: UserCommand::Recover { name, password_file } } => recover_user(config, name, password_file).await,
        AdminCommand::Token { name, scope } => token(config, name, scope).await,
        AdminCommand::Fsck { deep } => {
            super::fsck::run(config, if *deep { slipway_registry::Depth::Deep } else { slipway_registry::Depth::Shallow }).await
        }
    }
}

async fn add_user(config: &Config, name: &str, role: Role, password_file: &Path) -> Result<String, Failure> {
    // What is wrong on the command line is said before anything is opened or created.
    let name = account_name(name)?;
    let password = password(password_file)?;
    let app = open::app_for_admin(config).await?;
    app.add_user(name.as_str(), role, &password).await.map_err(open::application)?;
    app.db().close().await;
    Ok(match role {
        Role::Administrator => format!("user `{name}` was added as an administrator\n"),
        Role::User => format!("user `{name}` was added\n"),
    })
}

async fn recover_user(config: &Config, name: &str, password_file: &Path) -> Result<String, Failure> {
    let name = account_name(name)?;
    let password = password(password_file)?;
    let app = open::app_for_admin(config).await?;
    let account = app.recover_user(name.as_str(), &password).await.map_err(open::application)?;
    app.db().close().await;
    let name = account.name;
    Ok(format!(
        "user `{name}` can sign in with the new password; the second factor is off, identities at other services are removed, \
         every session has ended\n"
    ))
}

async fn token(config: &Config, name: &str, scopes: &[String]) -> Result<String, Failure> {
    let name = account_name(name)?;
    let scopes = scope_set(scopes)?;
    let app = open::app_for_admin(config).await?;
    let token = app.create_token_by_name(name.as_str(), "slipway admin token", &scopes).await.map_err(open::application)?;
    app.db().close().await;
    // The token alone, so that `TOKEN=$(slipway admin token octo)` works.
    Ok(format!("{}\n", token.secret.expose()))
}

fn account_name(name: &str) -> Result<AccountName, Failure> {
    name.parse().map_err(|error: slipway_model::InvalidName| {
        Failure::usage(error.to_string(), "a name is also the namespace of images, for example `octo`")
    })
}

fn scope_set(scopes: &[String]) -> Result<ScopeSet, Failure> {
    if scopes.is_empty() {
        return Ok(ScopeSet::all());
    }
    let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let parse = |text: &str| {
        text.parse::<Scope>().map_err(|_| {
            let near = crate::config::nearest(text, all.iter().copied());
            let hint = near.map_or_else(|| format!("the scopes are {}", all.join(", ")), |near| format!("did you mean `{near}`?"));
            Failure::usage(format!("`{text}` is no scope"), hint)
        })
    };
    let scopes = scopes.iter().flat_map(|text| text.split([',', ' '])).filter(|text| !text.is_empty());
    Ok(ScopeSet::new(scopes.map(parse).collect::<Result<Vec<_>, _>>()?))
}

/// The first line of the file, or of standard input for `-`.
fn password(file: &Path) -> Result<SecretString, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(
            format!("the password file `{}` cannot be read: {error}", file.display()),
            "name a file whose first line is the password, or `-` for standard input",
        )
    };
    let mut line = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_PASSWORD_BYTES).read_line(&mut line).map_err(unreadable)?;
    } else {
        let source = std::fs::File::open(file).map_err(unreadable)?;
        std::io::BufReader::new(source).take(MAX_PASSWORD_BYTES).read_line(&mut line).map_err(unreadable)?;
    }
    let password = line.trim_end_matches(['\n', '\r']).to_owned();
    if password.is_empty() {
        return Err(Failure::usage(
            format!("the first line of the password file `{}` is empty", file.display()),
            "write the password into its first line, at least 8 characters",
        ));
    }
    Ok(password.into())
}
