//! Durations in a plan's file: `"12s 500ms"`, exact to the nanosecond. For `#[serde(with)]`.

use std::{fmt::Display, time::Duration};

use humantime::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

fn parse(text: &str) -> Result<Duration, impl Display + use<>> {
    parse_duration(text).map_err(|error| format!("{text:?} is no time, such as \"12s 500ms\": {error}"))
}

pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_duration(*span))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Several.
pub mod many {
    use super::{Deserialize, Deserializer, Duration, Error, Serialize, Serializer, format_duration, parse};

    pub fn serialize<S: Serializer>(spans: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<_> = spans.iter().map(|span| format_duration(*span).to_string()).collect();
        texts.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| parse(text).map_err(D::Error::custom)).collect()
    }
}

/// The shortest and the longest.
pub mod pair {
    use super::{Deserializer, Duration, Error, Serializer, many};

    pub fn serialize<S: Serializer>((low, high): &(Duration, Duration), serializer: S) -> Result<S::Ok, S::Error> {
        many::serialize(&[*low, *high], serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Duration, Duration), D::Error> {
        match many::deserialize(deserializer)?[..] {
            [low, high] if low <= high => Ok((low, high)),
            _ => Err(D::Error::custom("expected two times, the shorter one first")),
        }
    }
}
