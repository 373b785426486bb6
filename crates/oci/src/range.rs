//! `Range` (RFC 9110 §14, reading a blob) and `Content-Range` (OCI distribution-spec 1.1 §Pushing a blob in chunks).

/// What a `Range` header asks for, before the length of the content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=a-b` or `bytes=a-`; both ends included.
    From(u64, Option<u64>),
    /// `bytes=-n`: the last n bytes.
    Last(u64),
}

/// What a range selects of content with a known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// A part: first byte and number of bytes, at least one.
    Part(u64, u64),
    /// Nothing of the content is in the range: 416.
    Unsatisfiable,
}

impl ByteRange {
    /// Applies the range to content of `length` bytes.
    pub fn select(self, length: u64) -> Selected {
        match self {
            Self::Last(0) => Selected::Unsatisfiable,
            Self::Last(_) if length == 0 => Selected::Unsatisfiable,
            Self::Last(n) => {
                let count = n.min(length);
                Selected::Part(length - count, count)
            }
            Self::From(first, _) if first >= length => Selected::Unsatisfiable,
            Self::From(first, last) => {
                let last = last.unwrap_or(u64::MAX).min(length - 1);
                Selected::Part(first, last - first + 1)
            }
        }
    }
}

/// Reads a `Range` header. `None` means: answer with the whole content, which RFC 9110 allows for any header that is
/// malformed, of another unit, or asks for several parts.
pub fn parse_range(header: &str) -> Option<ByteRange> {
    let (unit, spec) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    match (first, last) {
        ("", n) => Some(ByteRange::Last(number(n)?)),
        (first, "") => Some(ByteRange::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

/// The place of a chunk in an upload: `a-b`, both included; `bytes a-b/*` is taken too because some clients send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Number of bytes, at least one.
    pub length: u64,
}

impl ContentRange {
    /// Reads the header; `None` if it is neither form.
    pub fn parse(header: &str) -> Option<Self> {
        let text = header.trim();
        let text = match text.strip_prefix("bytes") {
            Some(rest) => rest.trim_start_matches(['=', ' ']),
            None => text,
        };
        let text = text.split_once('/').map_or(text, |(range, _total)| range);
        let (first, last) = text.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(first)?.checked_add(1)?;
        Some(Self { first, length })
    }
}

/// Digits only: `u64::from_str` would take a leading `+`.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |a, n| Some(Selected::Part(a, n));
        for (header, wanted) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-9", part(0, 10)),
            ("bytes=0-99", part(0, 10)),
            ("bytes=5-", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("Bytes=9-9", part(9, 1)),
            ("bytes=0-18446744073709551615", part(0, 10)),
            ("bytes=10-", Some(Selected::Unsatisfiable)),
            ("bytes=-0", Some(Selected::Unsatisfiable)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-4", None),
            ("bytes=1", None),
            ("bytes=-", None),
            ("lines=1-2", None),
            ("bytes=99999999999999999999-", None),
            ("", None),
        ] {
            assert_eq!(parse_range(header).map(|range| range.select(10)), wanted, "{header}");
        }
        assert_eq!(parse_range("bytes=0-").map(|r| r.select(0)), Some(Selected::Unsatisfiable));
    }

    #[test]
    fn content_ranges() {
        let some = |first, length| Some(ContentRange { first, length });
        for (header, wanted) in [
            ("0-0", some(0, 1)),
            ("10-19", some(10, 10)),
            ("bytes 0-9/*", some(0, 10)),
            ("bytes 0-9/10", some(0, 10)),
            ("bytes=0-9", some(0, 10)),
            ("9-0", None),
            ("0-18446744073709551615", None),
            ("-5", None),
            ("5-", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(header), wanted, "{header}");
        }
    }
}
