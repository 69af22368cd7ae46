//! From an HTTP request to what is asked; every mistake gets its own sentence.

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, Uri},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::{
    config::Limits,
    env::{Env, within},
    types::ShardId,
    wire::Op,
};

/// Why a request is refused before it reaches the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The key, where it is known.
    pub key: String,
    /// What is wrong and what would be valid.
    pub error: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, key: &str, error: impl Into<String>) -> ApiError {
        ApiError { status, key: key.to_owned(), error: error.into() }
    }

    pub(super) fn bad(key: &str, error: impl Into<String>) -> ApiError {
        Self::new(StatusCode::BAD_REQUEST, key, error)
    }
}

/// Reads a body of at most `body-bytes-max`, which must be here within `request-deadline`.
pub(super) async fn read_body<E: Env>(env: &E, body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let (max, patience) = (limits.body_bytes_max, limits.request_deadline);
    let Some(read) = within(env, patience, Limited::new(body, max).collect()).await else {
        let why = format!("the body did not arrive within {patience:?} (limits.request-deadline)");
        return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "", why));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let why = format!("the body is larger than {max} bytes (limits.body-bytes-max)");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "", why))
        }
        Err(error) => Err(ApiError::bad("", format!("the body did not arrive whole: {error}"))),
    }
}

/// `POST /set`.
pub(super) fn set(body: &[u8], limits: &Limits) -> Result<(String, Op), ApiError> {
    let fields = fields(body, &["key", "value"])?;
    let key = key_field(&fields, limits)?;
    let value = string(&fields, "value", &key)?;
    if value.len() > limits.value_bytes_max {
        let why = format!("value: {} bytes; 0 to {} are valid", value.len(), limits.value_bytes_max);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, &key, why));
    }
    let op = Op::Set { key: Bytes::from(key.clone()), value: Bytes::from(value) };
    Ok((key, op))
}

/// `POST /delete`.
pub(super) fn delete(body: &[u8], limits: &Limits) -> Result<(String, Op), ApiError> {
    let fields = fields(body, &["key"])?;
    let key = key_field(&fields, limits)?;
    let op = Op::Delete { key: Bytes::from(key.clone()) };
    Ok((key, op))
}

/// `POST /split`.
pub(super) fn split(body: &[u8], limits: &Limits) -> Result<(String, Op), ApiError> {
    let fields = fields(body, &["key"])?;
    let key = key_field(&fields, limits)?;
    let op = Op::Split { key: Bytes::from(key.clone()) };
    Ok((key, op))
}

/// `GET /explain?shard=ID`.
pub(super) fn shard_id(uri: &Uri) -> Result<ShardId, ApiError> {
    let mut shard = None;
    for (name, value) in query(uri)? {
        match name.as_str() {
            "shard" => {
                let why = || ApiError::bad("", format!("shard={value}: a shard's number is valid"));
                shard = Some(ShardId(value.parse().map_err(|_| why())?));
            }
            other => return Err(ApiError::bad("", format!("unknown parameter {other:?}; /explain takes shard"))),
        }
    }
    shard.ok_or_else(|| ApiError::bad("", "the parameter shard is missing: /explain?shard=..."))
}

/// `GET /get?key=...`.
pub(super) fn get(uri: &Uri, limits: &Limits) -> Result<(String, Op), ApiError> {
    let mut key = None;
    for (name, value) in query(uri)? {
        match name.as_str() {
            "key" if key.is_some() => return Err(ApiError::bad("", "the parameter key is given twice")),
            "key" => key = Some(value),
            other => return Err(ApiError::bad("", format!("unknown parameter {other:?}; /get takes key"))),
        }
    }
    let key = key.ok_or_else(|| ApiError::bad("", "the parameter key is missing: /get?key=..."))?;
    check_key(&key, limits)?;
    let op = Op::Get { key: Bytes::from(key.clone()) };
    Ok((key, op))
}

/// Whether `GET /shards` asks for this node's own.
pub(super) fn is_local(uri: &Uri) -> Result<bool, ApiError> {
    let mut local = false;
    for (name, value) in query(uri)? {
        local = match (name.as_str(), value.as_str()) {
            ("local", "true") => true,
            ("local", "false") => false,
            ("local", other) => return Err(ApiError::bad("", format!("local={other}: true or false are valid"))),
            (other, _) => return Err(ApiError::bad("", format!("unknown parameter {other:?}; /shards takes local"))),
        };
    }
    Ok(local)
}

/// The parameters, percent-decoded. A plus sign is a space, as HTML forms write it and curl's `--data-urlencode`
/// expects; a plus itself is `%2B`.
pub(super) fn query(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| (digit? as char).to_digit(16));
                match digits {
                    [Some(high), Some(low)] => (high * 16 + low) as u8,
                    _ => return Err(ApiError::bad("", "a percent sign must be followed by two hexadecimal digits")),
                }
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad("", "a parameter is not UTF-8 once it is percent-decoded"))
}

/// The body as a JSON object with no other fields than `known`: a mistyped one must not be lost silently.
fn fields(body: &[u8], known: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad("", "the body is not UTF-8"))?;
    let expected = format!("expected a JSON object with {}", known.join(" and "));
    let value = serde_json::from_str(text).map_err(|error| {
        let empty = if text.trim().is_empty() { "the body is empty".to_owned() } else { error.to_string() };
        ApiError::bad("", format!("{empty}; {expected}"))
    })?;
    let Value::Object(fields) = value else { return Err(ApiError::bad("", expected)) };
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(other) => Err(ApiError::bad("", format!("unknown field {other:?}; {expected}"))),
        None => Ok(fields),
    }
}

fn string(fields: &Map<String, Value>, name: &str, key: &str) -> Result<String, ApiError> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(ApiError::bad(key, format!("{name}: must be a JSON string"))),
        None => Err(ApiError::bad(key, format!("the field {name} is missing"))),
    }
}

fn key_field(fields: &Map<String, Value>, limits: &Limits) -> Result<String, ApiError> {
    let key = string(fields, "key", "")?;
    check_key(&key, limits)?;
    Ok(key)
}

fn check_key(key: &str, limits: &Limits) -> Result<(), ApiError> {
    let max = limits.key_bytes_max;
    if key.is_empty() || key.len() > max {
        // A key far over the limit is not sent back.
        let echo = if key.len() > max { "" } else { key };
        return Err(ApiError::bad(echo, format!("key: {} bytes; 1 to {max} are valid", key.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits() -> Limits {
        Limits { key_bytes_max: 8, value_bytes_max: 10, ..Config::default().limits }
    }

    fn error_of(result: Result<(String, Op), ApiError>) -> (u16, String, String) {
        let error = result.unwrap_err();
        (error.status.as_u16(), error.key, error.error)
    }

    #[test]
    fn a_sound_set_is_taken_as_it_is() {
        let (key, op) = set("{\"key\":\"kä\",\"value\":\"\"}".as_bytes(), &limits()).unwrap();
        assert_eq!((key.as_str(), op), ("kä", Op::Set { key: Bytes::from("kä"), value: Bytes::new() }));
    }

    #[test]
    fn each_mistake_in_a_body_has_its_sentence() {
        for (body, key, part) in [
            (&b"{"[..], "", "EOF"),
            (b"", "", "empty"),
            (b"\xff", "", "UTF-8"),
            (b"[1]", "", "JSON object"),
            (b"{\"key\":1,\"value\":\"v\"}", "", "key: must be a JSON string"),
            (b"{\"key\":null,\"value\":\"v\"}", "", "key: must be a JSON string"),
            (b"{\"value\":\"v\"}", "", "key is missing"),
            (b"{\"key\":\"\",\"value\":\"v\"}", "", "1 to 8"),
            (b"{\"key\":\"123456789\",\"value\":\"v\"}", "", "9 bytes; 1 to 8"),
            (b"{\"key\":\"k\"}", "k", "value is missing"),
            (b"{\"key\":\"k\",\"value\":{}}", "k", "value: must be a JSON string"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"valeu\":\"x\"}", "", "unknown field \"valeu\""),
            (b"{\"key\":\"k\",\"value\":\"v\"} x", "", "trailing"),
        ] {
            let (status, echoed, error) = error_of(set(body, &limits()));
            assert_eq!((status, echoed.as_str()), (400, key), "{error}");
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        let (status, key, error) = error_of(set(b"{\"key\":\"k\",\"value\":\"12345678901\"}", &limits()));
        assert_eq!((status, key.as_str()), (413, "k"), "{error}");
    }

    #[test]
    fn a_query_is_percent_decoded() {
        let key = |text: &str| get(&text.parse().unwrap(), &limits()).map(|(key, _)| key);
        assert_eq!(key("/get?key=a%20b+c").unwrap(), "a b c");
        assert_eq!(key("/get?key=%2B%26=").unwrap(), "+&=");
        for (uri, part) in [
            ("/get", "missing"),
            ("/get?key=", "1 to 8"),
            ("/get?key=a&key=b", "twice"),
            ("/get?keey=a", "unknown parameter"),
            ("/get?key=%2", "hexadecimal"),
            ("/get?key=%zz", "hexadecimal"),
            ("/get?key=%ff", "UTF-8"),
        ] {
            let error = key(uri).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
            assert!(error.error.contains(part), "{uri}: {}", error.error);
        }
    }
}
