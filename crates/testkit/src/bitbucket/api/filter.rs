//! Bitbucket's filter language (`q=name ~ "x" AND is_private = true`) and `sort`.
//! Source: Bitbucket's description, "Filter and sort API objects". Deliberately absent: parentheses and lists.
//! Invariant: a query that is not understood is refused with 400 and never ignored.

use std::cmp::Ordering;

use axum::http::StatusCode;
use serde_json::Value;

use super::reply::{ApiError, Query};

/// A filter in disjunctive form: any of these, each all of those.
pub(crate) struct Filter(Vec<Vec<Condition>>);

struct Condition {
    path: Vec<String>,
    operator: String,
    value: Value,
}

fn refuse(query: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("Invalid query: {query}"))
}

/// Splits into words, operators and quoted strings (which keep their first quote).
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => {
                let mut token = String::from("\"");
                let mut characters = rest.char_indices().skip(1);
                let end = loop {
                    match characters.next()? {
                        (at, '"') => break at + 1,
                        (_, '\\') => token.push(characters.next()?.1),
                        (_, other) => token.push(other),
                    }
                };
                tokens.push(token);
                end
            }
            '=' | '!' | '~' | '<' | '>' => {
                let end = rest.find(|character| !"=!~<>".contains(character)).unwrap_or(rest.len());
                tokens.push(rest[..end].to_owned());
                end
            }
            _ => {
                let end = rest.find(|character: char| character.is_whitespace() || "=!~<>\"".contains(character)).unwrap_or(rest.len());
                tokens.push(rest[..end].to_owned());
                end
            }
        };
        rest = rest[taken..].trim_start();
    }
    Some(tokens)
}

impl Filter {
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("q") {
            Some(text) => Self::parse(text).ok_or_else(|| refuse(text)),
            None => Ok(Self(vec![Vec::new()])),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut any = vec![Vec::new()];
        let mut rest = tokens.as_slice();
        loop {
            let [field, operator, value, tail @ ..] = rest else { return None };
            let known = ["=", "!=", "~", "!~", "<", "<=", ">", ">="].contains(&operator.as_str());
            let value = match value.strip_prefix('"') {
                Some(text) => Value::String(text.to_owned()),
                // A bare time is compared as text, which sorts as times do.
                None => serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone())),
            };
            if !known || field.starts_with('"') {
                return None;
            }
            let condition = Condition { path: field.split('.').map(str::to_owned).collect(), operator: operator.clone(), value };
            any.last_mut()?.push(condition);
            match tail {
                [] => return Some(Self(any)),
                [word, more @ ..] if word.eq_ignore_ascii_case("and") => rest = more,
                [word, more @ ..] if word.eq_ignore_ascii_case("or") => {
                    any.push(Vec::new());
                    rest = more;
                }
                _ => return None,
            }
        }
    }

    pub(crate) fn keeps(&self, object: &Value) -> bool {
        self.0.iter().any(|all| all.iter().all(|condition| condition.holds(object)))
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        _ => None,
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(object, |value, name| value.get(name).unwrap_or(&Value::Null))
}

impl Condition {
    fn holds(&self, object: &Value) -> bool {
        let found = at(object, &self.path);
        let contains = || match (found, &self.value) {
            (Value::String(text), Value::String(part)) => text.to_lowercase().contains(&part.to_lowercase()),
            _ => false,
        };
        match self.operator.as_str() {
            "=" => *found == self.value,
            "!=" => *found != self.value,
            "~" => contains(),
            "!~" => !contains(),
            ">" => compare(found, &self.value) == Some(Ordering::Greater),
            ">=" => compare(found, &self.value).is_some_and(Ordering::is_ge),
            "<" => compare(found, &self.value) == Some(Ordering::Less),
            "<=" => compare(found, &self.value).is_some_and(Ordering::is_le),
            _ => false,
        }
    }
}

/// Sorts by `sort=field` or `sort=-field`; without it the order stays.
pub(crate) fn sort<T>(query: &Query, items: &mut [T], look: impl Fn(&T) -> &Value) {
    let Some(asked) = query.get("sort") else { return };
    let (field, down) = asked.strip_prefix('-').map_or((asked, false), |field| (field, true));
    let path: Vec<String> = field.split('.').map(str::to_owned).collect();
    items.sort_by(|left, right| {
        let order = compare(at(look(left), &path), at(look(right), &path)).unwrap_or(Ordering::Equal);
        if down { order.reverse() } else { order }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_keep_what_they_say() {
        let object = json!({ "name": "Big Project", "is_private": true, "size": 12, "owner": { "nickname": "emma" }, "parent": null });
        let keeps = |text: &str| Filter::parse(text).unwrap().keeps(&object);
        for good in [
            r#"name ~ "PROJ""#,
            r#"name="Big Project""#,
            r#"name != "x" AND is_private = true"#,
            r#"name = "x" OR owner.nickname = "emma""#,
            "size >= 12",
            "parent = null",
            r#"name !~ "\"quoted\"""#,
        ] {
            assert!(keeps(good), "{good}");
        }
        for bad in [r#"name ~ "x""#, "size < 12", r#"name = "x" AND size = 12"#, "is_private = false"] {
            assert!(!keeps(bad), "{bad}");
        }
        for broken in ["", "name", r#"name ~ "x"#, r#"name ? "x""#, r#"name = "x" name = "y""#] {
            assert!(Filter::parse(broken).is_none(), "{broken}");
        }
    }
}
