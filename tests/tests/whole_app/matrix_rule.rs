//! The rule of the matrix: what a row of `matrix.txt` answers to whom, computed from right, scope, role and credential alone.
//!
//! Invariant: written from the documents, without a look at the product's own check; it shares no type with the product.

use std::fmt;

use anyhow::{Context as _, Result, bail};

/// What somebody is to the organization of the matrix and its repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nobody there.
    Stranger,
    /// In a team that gives nothing.
    Member,
    /// In a team that gives `read`.
    Read,
    /// In a team that gives `write`.
    Write,
    /// In a team that gives `admin`.
    Admin,
    /// In `owners`.
    Owner,
    /// Administers the installation, and is nobody in the organization.
    Administrator,
}

pub const ROLES: [Role; 7] = [Role::Stranger, Role::Member, Role::Read, Role::Write, Role::Admin, Role::Owner, Role::Administrator];

impl Role {
    /// Larger includes smaller; none for who has no right over the repository.
    fn permission(self) -> Option<u8> {
        match self {
            Self::Stranger | Self::Member | Self::Administrator => None,
            Self::Read => Some(1),
            Self::Write => Some(2),
            Self::Admin => Some(3),
            Self::Owner => Some(4),
        }
    }

    fn is_inside(self) -> bool {
        !matches!(self, Self::Stranger | Self::Administrator)
    }
}

/// With what somebody comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// With nothing.
    Nothing,
    /// A browser's session.
    Session,
    /// A personal access token with one scope.
    Scope(&'static str),
    /// A personal access token with every scope.
    AllScopes,
    /// A personal access token for the two repositories, with every scope that such a token can have.
    Limited,
    /// The same for a repository of one's own.
    LimitedElsewhere,
    /// An access token of the organization (of another one for the stranger).
    Organization,
    /// A token of the registry's token service.
    Registry,
    /// A builder's token.
    Builder,
}

pub const SCOPES: [&str; 5] = ["repo:read", "repo:write", "repo:admin", "build:write", "account"];

/// A caller of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    pub role: Role,
    pub credential: Credential,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {:?}", self.role, self.credential)
    }
}

/// The right that a row demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Anybody,
    Counted,
    Guest,
    SignedIn,
    Person,
    See,
    Permission(u8),
    Look,
    Namespace,
    Member,
    Team,
    Organization,
    InPerson,
    Auditor,
    Administrator,
    Builder,
}

impl std::str::FromStr for Right {
    type Err = anyhow::Error;
    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "anybody" => Self::Anybody,
            "counted" => Self::Counted,
            "guest" => Self::Guest,
            "signed-in" => Self::SignedIn,
            "person" => Self::Person,
            "see" => Self::See,
            "read" => Self::Permission(1),
            "write" => Self::Permission(2),
            "admin" => Self::Permission(3),
            "owner" => Self::Permission(4),
            "look" => Self::Look,
            "namespace" => Self::Namespace,
            "member" => Self::Member,
            "team" => Self::Team,
            "organization" => Self::Organization,
            "in-person" => Self::InPerson,
            "auditor" => Self::Auditor,
            "administrator" => Self::Administrator,
            "builder" => Self::Builder,
            other => bail!("there is no right `{other}`"),
        })
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub method: reqwest::Method,
    /// As the router has it, without the query.
    pub route: String,
    /// With the query.
    pub address: String,
    pub right: Right,
    pub scope: Option<String>,
    /// The status for those who may.
    pub answer: u16,
    /// Parts of the address that the row chooses.
    pub parts: Vec<(String, String)>,
    pub body: Option<String>,
}

impl Row {
    /// Reads the table.
    pub fn read(table: &str) -> Result<Vec<Self>> {
        let lines = table.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| Self::of(line).with_context(|| format!("line {at}: {line}")))
            .collect()
    }

    fn of(line: &str) -> Result<Self> {
        let mut rest = line;
        let mut word = || {
            let trimmed = rest.trim_start();
            let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let (word, tail) = trimmed.split_at(end);
            rest = tail;
            word
        };
        let (method, address, right, scope, answer) = (word(), word(), word(), word(), word());
        let mut row = Self {
            method: method.parse()?,
            route: address.split('?').next().unwrap_or_default().to_owned(),
            address: address.to_owned(),
            right: right.parse()?,
            scope: (scope != "-").then(|| scope.to_owned()),
            answer: answer.parse()?,
            parts: Vec::new(),
            body: None,
        };
        let mut tail = rest.trim();
        while !tail.is_empty() {
            if tail.starts_with('{') || tail.starts_with("form:") {
                row.body = Some(tail.to_owned());
                break;
            }
            let (part, more) = tail.split_once(char::is_whitespace).unwrap_or((tail, ""));
            let (name, value) = part.split_once('=').context("`name=value` or a body")?;
            row.parts.push((name.to_owned(), value.to_owned()));
            tail = more.trim();
        }
        Ok(row)
    }

    /// Whether it is about the organization or its repositories, and so asked in both of them.
    pub fn is_placed(&self) -> bool {
        ["{ns}", "{org}"].iter().any(|part| self.route.contains(part))
    }

    pub fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Whether something in the organization, and the repository that is asked for, is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Private,
    Public,
}

/// What is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The row's own answer.
    Done,
    /// 401: no valid credential.
    Unauthorized,
    /// 403: it may be seen, but not be done.
    Forbidden,
    /// 404: it may not be known of.
    NotFound,
}

/// `repo:admin` gives `repo:write`, which gives `repo:read`; `build:write` gives `repo:read`.
fn gives(held: &str, wanted: &str) -> bool {
    held == wanted
        || match wanted {
            "repo:read" => held != "account",
            "repo:write" => held == "repo:admin",
            _ => false,
        }
}

/// Whether the credential was given the scope.
pub fn has_scope(credential: Credential, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    match credential {
        // `all`: no single one is enough.
        Credential::Scope(held) => wanted != "all" && gives(held, wanted),
        Credential::Limited | Credential::LimitedElsewhere => !["account", "all"].contains(&wanted),
        Credential::Session | Credential::AllScopes | Credential::Organization => true,
        Credential::Nothing | Credential::Registry | Credential::Builder => false,
    }
}

/// What an address of the API or of a machine answers.
pub fn expected(row: &Row, place: Place, who: Who) -> Expected {
    use Expected::{Done, Forbidden, NotFound, Unauthorized};
    let public = place == Place::Public;
    let limited = matches!(who.credential, Credential::Limited | Credential::LimitedElsewhere);
    match (row.right, who.credential) {
        (Right::Anybody, _) | (Right::Builder, Credential::Builder) => return Done,
        (Right::Builder, _) | (_, Credential::Registry | Credential::Builder) => return Unauthorized,
        (Right::Counted, _) | (Right::Guest, Credential::Nothing) => return Done,
        (Right::See | Right::Look, Credential::Nothing) => return if public { Done } else { NotFound },
        (_, Credential::Nothing) => return Unauthorized,
        _ => {}
    }
    // First whether the caller may know of it at all, then whether they may do it.
    let covered = match who.credential {
        Credential::LimitedElsewhere => false,
        Credential::Limited => row.part("name") != Some("<repository>"),
        _ => true,
    };
    let permission = who.role.permission().filter(|_| covered);
    let known = match row.right {
        Right::See if public => return Done,
        Right::See | Right::Permission(_) => permission.is_some(),
        Right::Look if public && !who.role.is_inside() => return Done,
        Right::Look | Right::Namespace | Right::Member | Right::Organization | Right::InPerson => who.role.is_inside(),
        Right::Team => who.role.is_inside(),
        Right::Auditor => who.role.is_inside() || who.role == Role::Administrator,
        Right::Administrator => who.role == Role::Administrator,
        Right::Anybody | Right::Counted | Right::Guest | Right::SignedIn | Right::Person | Right::Builder => true,
    };
    if !known {
        return NotFound;
    }
    let wide = !matches!(row.right, Right::See | Right::Permission(_) | Right::Look) && row.scope.is_some();
    if !has_scope(who.credential, row.scope.as_deref()) || (limited && wide) {
        return Forbidden;
    }
    let by_organization = who.credential == Credential::Organization;
    let may = match row.right {
        Right::Permission(needed) => permission >= Some(needed),
        Right::Namespace | Right::Organization => who.role == Role::Owner,
        Right::InPerson => who.role == Role::Owner && !by_organization,
        Right::Auditor => matches!(who.role, Role::Owner | Role::Administrator),
        // Another team is not known of.
        Right::Team if !matches!(who.role, Role::Owner | Role::Read) => return NotFound,
        Right::Guest | Right::Person => !by_organization,
        _ => true,
    };
    if may { Done } else { Forbidden }
}
