//! The small languages inside values: durations, sizes, addresses and URLs, each read and written.

use std::time::Duration;

/// A kilobyte; sizes are binary.
pub(super) const KB: u64 = 1024;
/// A megabyte.
pub(super) const MB: u64 = 1024 * KB;
/// A gigabyte.
pub(super) const GB: u64 = 1024 * MB;
/// A terabyte.
pub(super) const TB: u64 = 1024 * GB;

/// Largest first, so that writing finds the shortest form.
const SIZE_UNITS: [(&str, u64); 5] = [("TB", TB), ("GB", GB), ("MB", MB), ("KB", KB), ("B", 1)];

/// Milliseconds in each unit, largest first.
const TIME_UNITS: [(&str, u128); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A text that was expected to be a URL and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a URL: expected http://host:port")]
pub struct NotAUrl(pub String);

/// The `host:port` inside `http://host:port`.
pub fn host_port(url: &str) -> Result<String, NotAUrl> {
    let refused = || NotAUrl(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(refused)?;
    let address = rest.strip_suffix('/').unwrap_or(rest);
    split_address(address).map(|_| address.to_owned()).ok_or_else(refused)
}

/// The `host:port` inside a URL that was read before; any other text is itself.
pub(super) fn bare_address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/')
}

/// Host and port of `host:port`. An IPv6 host keeps its brackets: without them nobody can tell where it ends.
pub(super) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    host_is_valid(host).then_some((host, port))
}

fn host_is_valid(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.bytes().all(name_byte)
}

/// Whether a host means "every interface": good to bind, impossible to dial from elsewhere.
pub(super) fn is_wildcard(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    ip.is_ok_and(|ip| ip.is_unspecified())
}

/// Bytes in `200MB`. Files made for the original also write `200MiB` and `200m`: the same number.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KB,
        "m" | "mb" | "mib" => MB,
        "g" | "gb" | "gib" => GB,
        "t" | "tb" | "tib" => TB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// A size in its largest whole unit.
pub(super) fn format_size(bytes: u64) -> String {
    let fits = |unit: &&(&str, u64)| bytes >= unit.1 && bytes.is_multiple_of(unit.1);
    let (name, scale) = SIZE_UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / scale)
}

/// A duration such as `15s` or `1h 30m`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// A duration of whole milliseconds in its largest whole unit.
pub(super) fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |unit: &&(&str, u128)| millis >= unit.1 && millis.is_multiple_of(unit.1);
    let (name, scale) = TIME_UNITS.iter().find(fits).unwrap_or(&("s", 1000));
    format!("{}{name}", millis / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_checked() {
        assert_eq!(parse_size("200MB"), Some(200 * 1_048_576));
        assert_eq!(parse_size("1 KiB"), Some(1024));
        assert_eq!(parse_size("17"), Some(17));
        assert_eq!(parse_size("16777215TB"), Some(16_777_215 * TB));
        for bad in ["", "MB", "-1", "+1", "1.5GB", "1XB", "16777216TB", "99999999999999999999"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for bytes in [0, 1, 1023, KB, 5 * MB, MB + 1, 3 * TB] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
        for millis in [0, 1, 999, 1000, 90_000, 3_600_000, 365 * 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(split_address("node0:8081"), Some(("node0", 8081)));
        assert_eq!(split_address("[::1]:80"), Some(("[::1]", 80)));
        for bad in ["", "node0", ":80", "node0:0", "node0:65536", "node0:+80", "::1:80", "[x]:80", "a b:80", "a/b:80"] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn urls_are_plain_http() {
        assert_eq!(host_port("http://node0:8084").as_deref(), Ok("node0:8084"));
        assert_eq!(host_port("http://node0:8084/").as_deref(), Ok("node0:8084"));
        for bad in ["node0:8084", "https://node0:8084", "http://node0", "http://node0:8084/path"] {
            assert_eq!(host_port(bad), Err(NotAUrl(bad.to_owned())));
        }
    }
}
