//! What a key's value may be, said once: the same kind reads a value, refuses a bad one, and tells the reader of
//! an error or of the reference what would be valid.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use toml::Value;

use super::units::{format_duration, format_size, host_port, parse_duration, parse_size, split_address};

/// Longest name, in bytes: names are in every membership list and in log lines.
const NAME_BYTES_MAX: usize = 128;

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `host:port`.
    Address,
    /// `http://host:port`.
    Url,
    /// A list of URLs.
    Urls,
    /// Several URLs in one string, with commas.
    UrlsWithCommas,
    /// A folder.
    Directory,
    /// A short word.
    Name,
    /// A list of different names.
    Names,
    /// A list of pairs of names.
    Labels,
    /// Keys, each greater than the one before.
    AscendingKeys,
    /// Yes or no.
    Flag,
    /// A duration, its least and its greatest in milliseconds.
    Duration(u64, u64),
    /// A number of bytes, least and greatest.
    Size(u64, u64),
    /// A number of things, least and greatest.
    Count(u64, u64),
    /// A part of a whole.
    Ratio,
}

/// A value that was read by its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    Text(String),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
    Flag(bool),
    Duration(Duration),
    Number(u64),
    Ratio(f64),
}

impl Kind {
    /// The value as this kind, or nothing where it is none.
    pub(super) fn read(self, value: &Value) -> Option<Setting> {
        match self {
            Self::Address => text(value).filter(|it| split_address(it).is_some()).map(Setting::Text),
            Self::Url => text(value).and_then(|it| url(&it)).map(Setting::Text),
            Self::Urls => texts(value)?.iter().map(|it| url(it)).collect::<Option<_>>().map(Setting::List),
            Self::UrlsWithCommas => text(value).and_then(|it| urls_with_commas(&it)).map(Setting::List),
            Self::Directory => text(value).filter(|it| !it.is_empty() && !it.contains('\0')).map(Setting::Text),
            Self::Name => text(value).filter(|it| is_name(it)).map(Setting::Text),
            Self::Names => texts(value).filter(|it| are_names(it)).map(Setting::List),
            Self::Labels => labels(value).map(Setting::Pairs),
            Self::AscendingKeys => texts(value).filter(|it| ascend(it)).map(Setting::List),
            Self::Flag => value.as_bool().map(Setting::Flag),
            Self::Duration(min, max) => duration(value, min, max).map(Setting::Duration),
            Self::Size(min, max) => size(value).filter(|it| (min..=max).contains(it)).map(Setting::Number),
            Self::Count(min, max) => count(value).filter(|it| (min..=max).contains(it)).map(Setting::Number),
            Self::Ratio => ratio(value).map(Setting::Ratio),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |it: &u64| format_duration(Duration::from_millis(*it));
        match self {
            Self::Address => write!(f, "\"host:port\", port 1 to 65535"),
            Self::Url => write!(f, "\"http://host:port\", port 1 to 65535"),
            Self::Urls => write!(f, "a list of \"http://host:port\""),
            Self::UrlsWithCommas => write!(f, "\"\", or \"http://host:port\", several with commas"),
            Self::Directory => write!(f, "a folder's path"),
            Self::Name => write!(f, "a name of 1 to {NAME_BYTES_MAX} bytes"),
            Self::Names => write!(f, "a list of different names"),
            Self::Labels => write!(f, "a list of pairs [\"name\", \"value\"], each name once"),
            Self::AscendingKeys => write!(f, "a list of non-empty keys, strictly ascending"),
            Self::Flag => write!(f, "true or false"),
            Self::Duration(min, max) => write!(f, "a duration from \"{}\" to \"{}\"", millis(min), millis(max)),
            Self::Size(min, max) => write!(f, "a size from \"{}\" to \"{}\"", format_size(*min), format_size(*max)),
            Self::Count(min, max) => write!(f, "a number from {min} to {max}"),
            Self::Ratio => write!(f, "a number over 0, up to 1"),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

/// The URL without the slash that some write at its end, so that equal ones compare equal.
fn url(text: &str) -> Option<String> {
    host_port(text).ok().map(|address| format!("http://{address}"))
}

fn urls_with_commas(text: &str) -> Option<Vec<String>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|part| url(part.trim())).collect()
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn are_names(texts: &[String]) -> bool {
    let different: BTreeSet<_> = texts.iter().collect();
    different.len() == texts.len() && texts.iter().all(|it| is_name(it))
}

fn labels(value: &Value) -> Option<Vec<(String, String)>> {
    let pairs = value.as_array()?.iter().map(label).collect::<Option<Vec<_>>>()?;
    let names: Vec<String> = pairs.iter().map(|(name, _)| name.clone()).collect();
    are_names(&names).then_some(pairs)
}

fn label(value: &Value) -> Option<(String, String)> {
    let pair: [String; 2] = texts(value)?.try_into().ok()?;
    let [name, value] = pair;
    is_name(&value).then_some((name, value))
}

fn ascend(keys: &[String]) -> bool {
    keys.iter().all(|key| !key.is_empty()) && keys.is_sorted_by(|left, right| left < right)
}

fn duration(value: &Value, min: u64, max: u64) -> Option<Duration> {
    let range = Duration::from_millis(min)..=Duration::from_millis(max);
    parse_duration(value.as_str()?).filter(|it| range.contains(it))
}

fn size(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => parse_size(text),
        other => count(other),
    }
}

fn count(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|it| u64::try_from(it).ok())
}

fn ratio(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Integer(1) => 1.0,
        other => other.as_float()?,
    };
    (number > 0.0 && number <= 1.0).then_some(number)
}
